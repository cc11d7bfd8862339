// The keys' blocks as a tile takes them, eight side by side.
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

// Scores with their bias, and the lowest number where there is no key.
fn with_bias(
  scores: mat4x4<f32>, head: u32, own: Tokens, keys: Region, block: KeyBlock, valid: bool,
) -> mat4x4<f32> {
  if (!valid) { return mat4x4<f32>(vec4<f32>(LOWEST), vec4<f32>(LOWEST), vec4<f32>(LOWEST), vec4<f32>(LOWEST)); }
  return finished(scores, head, own, keys, across_of(head, own, block.x), block.y, block.x);
}
