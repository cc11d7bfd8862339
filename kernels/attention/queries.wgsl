// Common to the kernels whose workgroups own queries: blocks of four keys, and the biases of their scores.

fn block_at(keys: Region, y: u32, x: u32) -> Tokens {
  let c = vec4<u32>(0, 1, 2, 3);
  if (LINEAR) { return linear_tokens(keys, x + c); }
  return tokens_at(keys, y + c / COLUMNS, x + c % COLUMNS);
}

// The row in memory of key c of a block.
fn key_row(keys: Region, y: u32, x: u32, c: u32) -> u32 {
  if (LINEAR) { return linear_tokens(keys, vec4<u32>(x + c)).row.x; }
  return tokens_at(keys, vec4<u32>(y + c / COLUMNS), vec4<u32>(x + c % COLUMNS)).row.x;
}

// The bias of own queries and a block's columns.
fn across_of(head: u32, own: Tokens, x: u32) -> mat4x4<f32> {
  var across = mat4x4<f32>();
  if (BIAS == RELATIVE) {
    across[0] = relative_w(head, own.row, own.x, vec4<u32>(x));
    across[1] = relative_w(head, own.row, own.x, vec4<u32>(min(x + 1, params.size_w - 1)));
    if (COLUMNS == 4) {
      across[2] = relative_w(head, own.row, own.x, vec4<u32>(min(x + 2, params.size_w - 1)));
      across[3] = relative_w(head, own.row, own.x, vec4<u32>(min(x + 3, params.size_w - 1)));
    }
  }
  return across;
}

// Scores with their bias, and the lowest number if there is no key.
fn with_bias(
  scores: mat4x4<f32>, head: u32, own: Tokens, keys: Region, across: mat4x4<f32>, y: u32, x: u32,
) -> mat4x4<f32> {
  var s = scores;
  let block = block_at(keys, y, x);
  if (BIAS == RELATIVE) {
    let down = relative_h(head, own.row, own.y, vec4<u32>(y));
    s[0] += down + across[0];
    s[1] += down + across[1];
    if (COLUMNS == 4) {
      s[2] += down + across[2];
      s[3] += down + across[3];
    } else {
      let next = relative_h(head, own.row, own.y, vec4<u32>(min(y + 1, params.size_h - 1)));
      s[2] += next + across[0];
      s[3] += next + across[1];
    }
  } else if (BIAS == TABLE) {
    s[0] += bias_to(head, own, block.y[0], block.x[0]);
    s[1] += bias_to(head, own, block.y[1], block.x[1]);
    s[2] += bias_to(head, own, block.y[2], block.x[2]);
    s[3] += bias_to(head, own, block.y[3], block.x[3]);
  }
  // The first key of a block is always one.
  s[1] = select(vec4<f32>(LOWEST), s[1], block.valid[1]);
  s[2] = select(vec4<f32>(LOWEST), s[2], block.valid[2]);
  s[3] = select(vec4<f32>(LOWEST), s[3], block.valid[3]);
  return s;
}

// The bias of own queries and the key at one place in the window.
fn bias_to(head: u32, own: Tokens, y: u32, x: u32) -> vec4<f32> {
  return bias_of(head, Pairs(own.row, own.y, own.x, vec4<u32>(y), vec4<u32>(x)));
}

// Highest score so far, and the sum of exponentials of differences to it.
struct Softmax { highest: vec4<f32>, sum: vec4<f32> }

// The softmax over the keys' padding, without its one score: all of it has one key, so that the bias alone differs.
fn padding_of(head: u32, own: Tokens, region: Region) -> Softmax {
  var highest = vec4<f32>(LOWEST);
  var sum = vec4<f32>();
  for (var x = 0u; x < params.size_w; x++) {
    for (var y = select(0u, region.height, x < region.width); y < params.size_h; y++) {
      let b = bias_to(head, own, y, x);
      let higher = max(highest, b);
      sum = sum * exp(highest - higher) + exp(b - higher);
      highest = higher;
    }
  }
  return Softmax(highest, sum);
}

// A block of keys as the tiles of tiled.wgsl take them, eight side by side.
struct KeyBlock { tokens: Tokens, y: u32, x: u32 }

fn key_blocks(keys: Region) -> u32 {
  if (keys.width == 0) { return 0u; }
  return blocks_of(keys.height, keys.width);
}

fn key_block(keys: Region, index: u32) -> KeyBlock {
  if (LINEAR) { return KeyBlock(linear_tokens(keys, 4 * index + vec4<u32>(0, 1, 2, 3)), 0u, 4 * index); }
  let tokens = block_tokens(keys, index);
  return KeyBlock(tokens, tokens.y.x, tokens.x.x);
}

// Scores of such a block with their bias, and the lowest number if there is no key.
fn scores_of(
  products: mat4x4<f32>, head: u32, own: Tokens, keys: Region, block: KeyBlock, valid: bool,
) -> mat4x4<f32> {
  if (!valid) { return mat4x4<f32>(vec4<f32>(LOWEST), vec4<f32>(LOWEST), vec4<f32>(LOWEST), vec4<f32>(LOWEST)); }
  return with_bias(products, head, own, keys, across_of(head, own, block.x), block.y, block.x);
}
