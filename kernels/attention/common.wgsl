// Common to the attention kernels: the tokens a workgroup works on, their places in memory, and the biases of
// their scores.
//
// Tokens lie on images [batch, image_h, image_w], a row of memory each, and attend to one another within
// windows of size_h x size_w tokens (plain attention has one window of 1 x N); windows_y x windows_x of them cover an
// image. A window that reaches beyond the image holds padding there: keys that all share one row, the last one
// (pad_row), and queries that nobody asks for. With CROSS the other side is a sequence of its own for each image, of
// `others` rows.
//
// Buffers: q, k, v and their gradients dq, dk, dv hold channel c of head h of row r at offset + r row + h head + c,
// with an offset and a row for each of q, k and v; out and dout hold it at r out_row + h out_head + c. These numbers
// count Elements: vec4, or f32 if the channels of a head, DEPTH, are no multiple of 4. `rows` has a number for
// each head and query, of params.rows queries in all: log-sum-exp, delta, and with padding the sums
// over it of probabilities and of the gradients of scores.
//
// Scores: scale q·k, and with BIAS
//   TABLE: bias[head, query's place in the window, key's place in the window]
//   RELATIVE: bias[query's row, head, qy - ky + size_h - 1] + bias[query's row, head, rel_w + qx - kx + size_w - 1],
//     the products of the query with the relative positions along both axes; rel_row of them a row and head
//
// Constants of the kernel: DEPTH; QUADS, fours of channels of a head; LANES of a subgroup; LINEAR, if blocks of four
// tokens run on from line to line of an image, which they do if no relative positions are added.

override BIAS: u32 = NO_BIAS;
override CROSS: bool = false;
override PADDED: bool = false; // windows reach beyond the image
override COLUMNS: u32 = 4; // width of a block of four tokens unless LINEAR: 4 in a line, or 2 x 2

const LOWEST: f32 = -3.0e38;

// Starts of a head's channels in four rows of q, k, v, and of out or dout.
fn q_starts(head: u32, rows: vec4<u32>) -> vec4<u32> {
  return params.q_offset + head * params.head + rows * params.q_row;
}
fn k_starts(head: u32, rows: vec4<u32>) -> vec4<u32> {
  return params.k_offset + head * params.head + rows * params.k_row;
}
fn v_starts(head: u32, rows: vec4<u32>) -> vec4<u32> {
  return params.v_offset + head * params.head + rows * params.v_row;
}
fn out_starts(head: u32, rows: vec4<u32>) -> vec4<u32> {
  return head * params.out_head + rows * params.out_row;
}

// The same of one row.
fn q_start(head: u32, row: u32) -> u32 { return q_starts(head, vec4<u32>(row)).x; }
fn k_start(head: u32, row: u32) -> u32 { return k_starts(head, vec4<u32>(row)).x; }
fn v_start(head: u32, row: u32) -> u32 { return v_starts(head, vec4<u32>(row)).x; }
fn out_start(head: u32, row: u32) -> u32 { return out_starts(head, vec4<u32>(row)).x; }

// The tokens of a window that lie in the image.
struct Region {
  batch: u32,
  tile: u32, // number among the region's tiles
  first: u32, // row of its first token
  pitch: u32, // rows from one line of the image to the next
  height: u32, width: u32,
}

// Four tokens: all beyond the region repeat its last line or column and are not valid.
struct Tokens { y: vec4<u32>, x: vec4<u32>, row: vec4<u32>, valid: vec4<bool> }

// Whole division; exact for the numbers of tokens in a window.
fn divide(a: vec4<u32>, b: u32) -> vec4<u32> {
  return vec4<u32>((vec4<f32>(a) + 0.5) / f32(b));
}

fn blocks_of(height: u32, width: u32) -> u32 {
  if (LINEAR) { return (height * width + 3) / 4; }
  let block_h = 4 / COLUMNS;
  return ((height + block_h - 1) / block_h) * ((width + COLUMNS - 1) / COLUMNS);
}

// The region and tile of a workgroup, for tiles of so many blocks.
fn region_of(flat: u32, blocks: u32) -> Region {
  let rest_h = params.image_h - (params.windows_y - 1) * params.size_h;
  let rest_w = params.image_w - (params.windows_x - 1) * params.size_w;
  let last_x = params.windows_x - 1;
  let last_y = params.windows_y - 1;
  let row_tiles = last_x * tiles_of(params.size_h, params.size_w, blocks) + tiles_of(params.size_h, rest_w, blocks);
  let rest_tiles = last_x * tiles_of(rest_h, params.size_w, blocks) + tiles_of(rest_h, rest_w, blocks);
  let image_tiles = last_y * row_tiles + rest_tiles;
  var region: Region;
  region.batch = flat / image_tiles;
  var tile = flat % image_tiles;
  let window_y = min(tile / row_tiles, last_y);
  tile -= window_y * row_tiles;
  region.height = select(params.size_h, rest_h, window_y == last_y);
  let tiles = tiles_of(region.height, params.size_w, blocks);
  let window_x = min(tile / tiles, last_x);
  region.tile = tile - window_x * tiles;
  region.width = select(params.size_w, rest_w, window_x == last_x);
  region.pitch = params.image_w;
  region.first = (region.batch * params.image_h + window_y * params.size_h) * params.image_w + window_x * params.size_w;
  return region;
}

fn tiles_of(height: u32, width: u32, blocks: u32) -> u32 {
  return (blocks_of(height, width) + blocks - 1) / blocks;
}

// The tokens that a region's tokens attend to or are attended by.
fn other_of(own: Region) -> Region {
  var other = own;
  if (CROSS) {
    other.first = own.batch * params.others;
    other.height = 1u;
    other.width = params.others;
  }
  // The last workgroups may lie beyond the last image: nothing is left to do.
  if (own.batch >= params.batch) { other.width = 0u; }
  return other;
}

fn block_tokens(region: Region, block: u32) -> Tokens {
  let c = vec4<u32>(0, 1, 2, 3);
  var tokens: Tokens;
  if (LINEAR) {
    tokens = linear_tokens(region, 4 * block + c);
  } else {
    let block_h = 4 / COLUMNS;
    let down = (region.height + block_h - 1) / block_h;
    let column = block / down;
    tokens = tokens_at(region, (block - column * down) * block_h + c / COLUMNS, column * COLUMNS + c % COLUMNS);
  }
  tokens.valid = tokens.valid & vec4<bool>(region.batch < params.batch);
  return tokens;
}

fn linear_tokens(region: Region, i: vec4<u32>) -> Tokens {
  let count = region.height * region.width;
  let inside = min(i, vec4<u32>(count - 1));
  let y = divide(inside, region.width);
  let x = inside - y * region.width;
  return Tokens(y, x, region.first + y * region.pitch + x, i < vec4<u32>(count));
}

fn tokens_at(region: Region, y: vec4<u32>, x: vec4<u32>) -> Tokens {
  let inside_y = min(y, vec4<u32>(region.height - 1));
  let inside_x = min(x, vec4<u32>(region.width - 1));
  let valid = (y == inside_y) & (x == inside_x);
  return Tokens(inside_y, inside_x, region.first + inside_y * region.pitch + inside_x, valid);
}

// Four pairs of query and key.
struct Pairs { q_row: vec4<u32>, q_y: vec4<u32>, q_x: vec4<u32>, k_y: vec4<u32>, k_x: vec4<u32> }

// The bias of their scores.
fn bias_of(head: u32, pairs: Pairs) -> vec4<f32> {
  if (BIAS == TABLE) {
    let n = params.size_h * params.size_w;
    let query = head * n + pairs.q_y * params.size_w + pairs.q_x;
    return four_of_bias(query * n + pairs.k_y * params.size_w + pairs.k_x);
  }
  if (BIAS == RELATIVE) {
    return relative_h(head, pairs.q_row, pairs.q_y, pairs.k_y) + relative_w(head, pairs.q_row, pairs.q_x, pairs.k_x);
  }
  return vec4<f32>();
}

fn relative_h(head: u32, q_row: vec4<u32>, q_y: vec4<u32>, k_y: vec4<u32>) -> vec4<f32> {
  return four_of_bias(relative_h_at(head, q_row, q_y, k_y));
}

fn relative_w(head: u32, q_row: vec4<u32>, q_x: vec4<u32>, k_x: vec4<u32>) -> vec4<f32> {
  return four_of_bias(relative_w_at(head, q_row, q_x, k_x));
}

fn relative_h_at(head: u32, q_row: vec4<u32>, q_y: vec4<u32>, k_y: vec4<u32>) -> vec4<u32> {
  return (q_row * params.heads + head) * params.rel_row + params.size_h - 1 + q_y - k_y;
}

fn relative_w_at(head: u32, q_row: vec4<u32>, q_x: vec4<u32>, k_x: vec4<u32>) -> vec4<u32> {
  return (q_row * params.heads + head) * params.rel_row + params.rel_w + params.size_w - 1 + q_x - k_x;
}

fn four_of_bias(at: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(load_bias(at.x), load_bias(at.y), load_bias(at.z), load_bias(at.w));
}
