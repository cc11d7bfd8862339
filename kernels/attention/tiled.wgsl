// Attention for GPUs, common to the forward pass and both gradients: the loop order of FlashAttention-2 (Dao
// 2023) on workgroup-memory tiles.
//
// A workgroup of 16 x 8 invocations owns 64 tokens and takes the others 32 at a time. An invocation computes the
// scores of 4 own tokens with 4 others, by channels staged 16 at a time, and shares them in `shown`; then it sums,
// for its 4 own tokens, every eighth four channels over all 32 others. Neither scores nor sums
// leave the workgroup, and 14.4 KiB of its memory, less than WebGPU guarantees, do for any depth. Not
// measured on a GPU.

const OTHERS = 32u;

// Staged channels: of 64 own tokens at 0 and of 32 others at 256, 4 vec4s each, where the first tokens of all
// blocks of four come first, then the second, so that neighbours read neighbours; or of 32 others, 8 vec4s each.
var<workgroup> staged: array<vec4<f32>, 384>;
// [own token, block of others]: numbers that each own token has with the others.
var<workgroup> shown: array<vec4<f32>, 512>;
var<workgroup> own_rows: array<u32, 64>;
var<workgroup> other_rows: array<u32, 32>;

fn at_q(head: u32, row: u32) -> u32 { return params.q_offset + head * params.head + row * params.q_row; }
fn at_k(head: u32, row: u32) -> u32 { return params.k_offset + head * params.head + row * params.k_row; }
fn at_v(head: u32, row: u32) -> u32 { return params.v_offset + head * params.head + row * params.v_row; }
fn at_dout(head: u32, row: u32) -> u32 { return head * params.out_head + row * params.out_row; }

fn show_rows(local: u32, own: Tokens, other: Tokens) {
  workgroupBarrier();
  if (local % 8 == 0) {
    for (var c = 0u; c < 4; c++) { own_rows[local / 8 * 4 + c] = own.row[c]; }
  }
  if (local < 8) {
    for (var c = 0u; c < 4; c++) { other_rows[local * 4 + c] = other.row[c]; }
  }
  workgroupBarrier();
}

// Shows the block's numbers, whose columns are others, to all.
fn show(local: u32, block: mat4x4<f32>) {
  workgroupBarrier();
  let lines = transpose(block);
  for (var c = 0u; c < 4; c++) { shown[(local / 8 * 4 + c) * 8 + local % 8] = lines[c]; }
  workgroupBarrier();
}

// Adds to the columns of `sums`, one for each own token, what is shown times the staged channels.
fn gathered(local: u32, start: mat4x4<f32>) -> mat4x4<f32> {
  let first = local / 8 * 32;
  var sums = start;
  for (var block = 0u; block < 8; block++) {
    let at = 32 * block + local % 8;
    sums += mat4x4<f32>(staged[at], staged[at + 8], staged[at + 16], staged[at + 24]) * mat4x4<f32>(
      shown[first + block], shown[first + 8 + block], shown[first + 16 + block], shown[first + 24 + block],
    );
  }
  return sums;
}

// The products of the staged channels of 4 own tokens with those of 4 others: columns are others.
fn staged_products(local: u32) -> mat4x4<f32> {
  var s = mat4x4<f32>();
  for (var quad = 0u; quad < 4; quad++) {
    let own = 64 * quad + local / 8;
    let other = 256 + 32 * quad + local % 8;
    s += transpose(mat4x4<f32>(staged[own], staged[own + 16], staged[own + 32], staged[own + 48]))
      * mat4x4<f32>(staged[other], staged[other + 8], staged[other + 16], staged[other + 24]);
  }
  return s;
}
