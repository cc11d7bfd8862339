// What both matrix-product kernels share: the problem's description and what happens to a sum before
// it is stored.
//
//   C[m, n] = activation(alpha * sum over k of opA(A)[m, k] * opB(B)[k, n] + bias[n])  (+ old C[m, n])
//
// (an update adds further products, matmul_update.wgsl; an epilogue changes what is stored,
// matmul_epilogue_*.wgsl) for every z of a batch that is counted on two levels, z = outer * batch_inner + inner (say image
// and head), each with its own stride, so that heads inside a fused qkv matrix need no copy.
// All offsets, strides and leading dimensions count f32 elements.

struct Params {
  m: u32, n: u32, k: u32,
  batch_inner: u32,
  lda: u32, ldb: u32, ldc: u32,
  off_a: u32, off_b: u32, off_c: u32,
  a_outer: u32, a_inner: u32,
  b_outer: u32, b_inner: u32,
  c_outer: u32, c_inner: u32,
  alpha: f32,
  update_k: u32,
  update_alpha: f32,
}

// A is stored as [k, m] instead of [m, k]; B as [n, k] (PyTorch's Linear weight) instead of [k, n].
override TRANS_A: bool = false;
override TRANS_B: bool = false;
override BIAS: bool = false;
override ACCUMULATE: bool = false;
// 0 none, 1 GELU, 2 ReLU
override ACTIVATION: u32 = 0;
// k is not a multiple of the 4 that a round of the kernel's loop takes.
override RAGGED_K: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

// Where a batch element's matrices start.
struct Origin { a: u32, b: u32, c: u32 }

fn origin_of(z: u32) -> Origin {
  let outer = z / params.batch_inner;
  let inner = z % params.batch_inner;
  return Origin(
    params.off_a + outer * params.a_outer + inner * params.a_inner,
    params.off_b + outer * params.b_outer + inner * params.b_inner,
    params.off_c + outer * params.c_outer + inner * params.c_inner,
  );
}

// Where the rows m..m+3 of opA(A) start. Rows beyond the last repeat it: what they add up to is
// never stored.
fn rows_of_a(origin: u32, m: u32) -> vec4<u32> {
  return origin + min(m + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.m - 1)) * select(params.lda, 1, TRANS_A);
}

// Where the columns n..n+3 of opB(B) start.
fn columns_of_b(origin: u32, n: u32) -> vec4<u32> {
  return origin + min(n + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.n - 1)) * select(1, params.ldb, TRANS_B);
}

// The four k that one load takes, the last one repeated beyond the end.
fn depths(k: u32) -> vec4<u32> {
  let four = k + vec4<u32>(0, 1, 2, 3);
  return select(four, min(four, vec4<u32>(params.k - 1)), RAGGED_K);
}

// Zeroes what lies beyond the last k, in each of four vectors along k.
fn without_tail(block: mat4x4<f32>, k: u32) -> mat4x4<f32> {
  if (!RAGGED_K) { return block; }
  let inside = k + vec4<u32>(0, 1, 2, 3) < vec4<u32>(params.k);
  let zero = vec4<f32>();
  return mat4x4<f32>(
    select(zero, block[0], inside), select(zero, block[1], inside),
    select(zero, block[2], inside), select(zero, block[3], inside),
  );
}

// The bias of columns n..n+3, the last one's repeated beyond the end.
fn bias_of(n: u32) -> vec4<f32> {
  if (!BIAS) { return vec4<f32>(); }
  let columns = min(n + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n - 1));
  return vec4<f32>(bias[columns.x], bias[columns.y], bias[columns.z], bias[columns.w]);
}

// Stores a block's rows m..m+3, columns n..n+3, as far as they lie inside C. A loop that the driver
// cannot unroll: stores are most of what a CPU driver would have to compile.
fn store_rows(origin: u32, m: u32, n: u32, sums: mat4x4<f32>, bias: vec4<f32>) {
  if (n >= params.n) { return; }
  let rows = min(max(params.m, m) - m, 4u);
  for (var i = 0u; i < rows; i++) {
    let row = select(select(sums[0], sums[1], i == 1), select(sums[2], sums[3], i == 3), i > 1);
    let start = origin + (m + i) * params.ldc;
    store(start, n, epilogue(start, n, params.alpha * row + bias));
  }
}

fn activate(x: vec4<f32>) -> vec4<f32> {
  if (ACTIVATION == 1) { return vec4<f32>(gelu(x.x), gelu(x.y), gelu(x.z), gelu(x.w)); }
  if (ACTIVATION == 2) { return max(x, vec4<f32>()); }
  return x;
}
