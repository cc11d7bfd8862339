// Common to the attention kernels: which tokens a workgroup works on, where they lie, and what is added
// to their scores.
//
// Tokens lie on images [batch, image_h, image_w], a row of memory each, and attend to one another within
// windows of size_h x size_w tokens (plain attention has one window of 1 x N). A window that reaches beyond
// the image holds padding there: keys that all share one row, the last one, and queries that nobody
// asks for. With CROSS the other side is a sequence of its own for each image.
//
// Scores: scale q·k, and with BIAS
//   1: bias[head, query's place in the window, key's place in the window]
//   2: bias[query's row, head, qy - ky + size_h - 1] + bias[query's row, head, rel_w + qx - kx + size_w - 1],
//      the products of the query with the relative positions along both axes
//
// Positions in q, k, v and their like count vec4s, or f32s where the depth is no multiple of 4. The buffer
// `rows` has a number for each head and query: [log-sum-exp, delta, and with padding the sums over it of
// probabilities and of the gradients of scores].

override BIAS: u32 = 0;
override CROSS: bool = false;
// Whether windows reach beyond the image.
override PADDED: bool = false;
// Width of a block of four tokens: 4 in a row, or 2 x 2. Blocks of LINEAR, a constant that
// attention.ts puts before this, run on from row to row.
override COLUMNS: u32 = 4;

const TABLE = 1u;
const RELATIVE = 2u;
const LOWEST: f32 = -3.0e38;

struct Params {
  batch: u32, heads: u32,
  image_h: u32, image_w: u32,
  size_h: u32, size_w: u32,
  windows_y: u32, windows_x: u32,
  others: u32, // with CROSS: rows of the other side in an image
  rows: u32, // queries in all
  q_offset: u32, k_offset: u32, v_offset: u32,
  q_row: u32, k_row: u32, v_row: u32, // from one token to the next
  head: u32, // from one head to the next in q, k and v
  out_row: u32, out_head: u32,
  pad_row: u32,
  rel_row: u32, rel_w: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;

// The tokens of a window that lie in the image.
struct Region {
  batch: u32,
  tile: u32, // which of the region's tiles
  first: u32, // row of its first token
  pitch: u32, // rows from one line of the image to the next
  height: u32, width: u32,
}

// Four tokens: what lies beyond the region repeats its last row or column and is not valid.
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

// The region and tile of a workgroup, where a tile has so many blocks.
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

// What a region's tokens attend to or are attended by.
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
    let count = region.height * region.width;
    let i = 4 * block + c;
    tokens = linear_tokens(region, i);
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
