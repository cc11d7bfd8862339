// Attention for GPUs, common to the forward pass and both gradients: the loop order of FlashAttention-2 (Dao
// 2023) on workgroup-memory tiles.
//
// A workgroup of OWN_BLOCKS x 8 invocations owns 4 OWN_BLOCKS tokens and takes the others 32 at a time. An invocation
// computes the scores of 4 own tokens with 4 others, by channels staged 16 at a time, and shares them in `shown`; then
// it sums, for its 4 own tokens, every eighth four channels over all 32 others. Neither scores nor sums leave the
// workgroup; its memory, 14.4 KiB with 16 blocks, does for any depth. OWN_BLOCKS is that of a tile in
// kernels/target.ts. Not measured on a GPU.

const OWN = 4 * OWN_BLOCKS;
const OTHERS = 32u;

// Operands of the functions below; those that store mean the gradients of the first three, and the output.
const Q = 0u;
const K = 1u;
const V = 2u;
const DOUT = 3u;
const OUT = 4u;

fn channels(operand: u32, at: u32, quad: u32) -> vec4<f32> {
  if (operand == Q) { return q_channels(at, quad); }
  if (operand == K) { return k_channels(at, quad); }
  if (operand == V) { return v_channels(at, quad); }
  return dout_channels(at, quad);
}

fn start(operand: u32, head: u32, row: u32) -> u32 {
  if (operand == Q) { return q_start(head, row); }
  if (operand == K) { return k_start(head, row); }
  if (operand == V) { return v_start(head, row); }
  return out_start(head, row);
}

fn set_channels(operand: u32, at: u32, quad: u32, x: vec4<f32>) {
  if (operand == Q) { set_dq(at, quad, x); }
  if (operand == K) { set_dk(at, quad, x); }
  if (operand == V) { set_dv(at, quad, x); }
  if (operand == OUT) { set_out(at, quad, x); }
}

// Staged channels: of the own tokens at 0 and of 32 others after them, 4 vec4s each, where the first tokens of all
// blocks of four come first, then the second, so that neighbours read neighbours; or of 32 others, 8 vec4s each.
const STAGED_OTHERS = 4 * OWN;
var<workgroup> staged: array<Operand, STAGED_OTHERS + 128>;
// [own token, block of others]: numbers that each own token has with the others.
var<workgroup> shown: array<vec4<f32>, 8 * OWN>;
var<workgroup> own_rows: array<u32, OWN>;
var<workgroup> other_rows: array<u32, OTHERS>;

// Sums of four own tokens: [t][token], of the four channels 8 t + local % 8.
alias Sums = array<mat4x4<f32>, 4>;

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

// Products of own tokens in one operand with others in another, summed over all channels: columns are others.
fn products(own: u32, other: u32, local: u32, head: u32) -> mat4x4<f32> {
  var s = mat4x4<f32>();
  for (var first = 0u; first < QUADS; first += 4) {
    workgroupBarrier();
    let quad = local % 4;
    let inside = first + quad < QUADS;
    for (var token = local / 4; token < OWN; token += OWN / 2) {
      var x = vec4<f32>();
      if (inside) { x = channels(own, start(own, head, own_rows[token]), first + quad); }
      staged[OWN * quad + token % 4 * OWN_BLOCKS + token / 4] = Operand(x);
    }
    for (var token = local / 4; token < OTHERS; token += OWN / 2) {
      var x = vec4<f32>();
      if (inside) { x = channels(other, start(other, head, other_rows[token]), first + quad); }
      staged[STAGED_OTHERS + OTHERS * quad + token % 4 * 8 + token / 4] = Operand(x);
    }
    workgroupBarrier();
    s += staged_products(local);
  }
  return s;
}

// Products of the staged channels of 4 own tokens with those of 4 others.
fn staged_products(local: u32) -> mat4x4<f32> {
  var s = mat4x4<f32>();
  for (var quad = 0u; quad < 4; quad++) {
    let own = OWN * quad + local / 8;
    let other = STAGED_OTHERS + OTHERS * quad + local % 8;
    s += transpose(four_staged(own, OWN_BLOCKS)) * four_staged(other, 8u);
  }
  return s;
}

fn four_staged(at: u32, step: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    vec4<f32>(staged[at]), vec4<f32>(staged[at + step]),
    vec4<f32>(staged[at + 2 * step]), vec4<f32>(staged[at + 3 * step]),
  );
}

// sums = fade sums + others' channels, weighted by the numbers that are shown.
fn add_weighted(sums: ptr<function, Sums>, fade: vec4<f32>, other: u32, local: u32, head: u32) {
  stage(other, local, head, 0u);
  (*sums)[0] = weighted((*sums)[0], fade, local);
  if (QUADS > 8) {
    stage(other, local, head, 8u);
    (*sums)[1] = weighted((*sums)[1], fade, local);
  }
  if (QUADS > 16) {
    stage(other, local, head, 16u);
    (*sums)[2] = weighted((*sums)[2], fade, local);
  }
  if (QUADS > 24) {
    stage(other, local, head, 24u);
    (*sums)[3] = weighted((*sums)[3], fade, local);
  }
}

// Stages 8 vec4s of each of the others, from `first` on.
fn stage(other: u32, local: u32, head: u32, first: u32) {
  workgroupBarrier();
  let quad = first + local % 8;
  for (var token = local / 8; token < OTHERS; token += OWN_BLOCKS) {
    var x = vec4<f32>();
    if (quad < QUADS) { x = channels(other, start(other, head, other_rows[token]), quad); }
    staged[8 * token + local % 8] = Operand(x);
  }
  workgroupBarrier();
}

// Columns of the sums are own tokens.
fn weighted(sums: mat4x4<f32>, fade: vec4<f32>, local: u32) -> mat4x4<f32> {
  let first = local / 8 * 32;
  var s = mat4x4<f32>(sums[0] * fade.x, sums[1] * fade.y, sums[2] * fade.z, sums[3] * fade.w);
  for (var block = 0u; block < 8; block++) {
    let at = 32 * block + local % 8;
    s += four_staged(at, 8u) * mat4x4<f32>(
      shown[first + block], shown[first + 8 + block], shown[first + 16 + block], shown[first + 24 + block],
    );
  }
  return s;
}

// sums = fade sums + weights other, for one other, by own token.
fn add_weighted_one(sums: ptr<function, Sums>, fade: vec4<f32>, weights: vec4<f32>, operand: u32, at: u32, local: u32) {
  (*sums)[0] = outer((*sums)[0], fade, weights, every_eighth(operand, at, 0u, local));
  if (QUADS > 8) { (*sums)[1] = outer((*sums)[1], fade, weights, every_eighth(operand, at, 8u, local)); }
  if (QUADS > 16) { (*sums)[2] = outer((*sums)[2], fade, weights, every_eighth(operand, at, 16u, local)); }
  if (QUADS > 24) { (*sums)[3] = outer((*sums)[3], fade, weights, every_eighth(operand, at, 24u, local)); }
}

fn every_eighth(operand: u32, at: u32, first: u32, local: u32) -> vec4<f32> {
  return channels(operand, at, min(first + local % 8, QUADS - 1));
}

fn outer(sums: mat4x4<f32>, fade: vec4<f32>, weights: vec4<f32>, x: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    sums[0] * fade.x + weights.x * x, sums[1] * fade.y + weights.y * x,
    sums[2] * fade.z + weights.z * x, sums[3] * fade.w + weights.w * x,
  );
}

// Stores the sums of own token c, times a factor, from `at` on.
fn store_sums(sums: ptr<function, Sums>, c: u32, factor: f32, operand: u32, at: u32, local: u32) {
  store_sum(operand, at, local % 8, factor * (*sums)[0][c]);
  if (QUADS > 8) { store_sum(operand, at, 8 + local % 8, factor * (*sums)[1][c]); }
  if (QUADS > 16) { store_sum(operand, at, 16 + local % 8, factor * (*sums)[2][c]); }
  if (QUADS > 24) { store_sum(operand, at, 24 + local % 8, factor * (*sums)[3][c]); }
}

fn store_sum(operand: u32, at: u32, quad: u32, x: vec4<f32>) {
  if (quad < QUADS) { set_channels(operand, at, quad, x); }
}

// Products of own tokens in one operand with a single row in another.
fn products_with(own: u32, other: u32, head: u32, tokens: Tokens, row: u32) -> vec4<f32> {
  let at = start(other, head, row);
  var s = vec4<f32>();
  for (var quad = 0u; quad < QUADS; quad++) {
    let x = channels(other, at, quad);
    for (var c = 0u; c < 4; c++) { s[c] += dot(channels(own, start(own, head, tokens.row[c]), quad), x); }
  }
  return s;
}
