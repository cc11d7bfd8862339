// Common to both matrix-product kernels: operands, and what is done with a sum before it is stored.
//
//   C[m, n] = activation(alpha * sum over k of opA(A)[m, k] * opB(B)[k, n] + bias[n])  (+ old C[m, n])
//
// for every z of a batch that is counted on two levels, z = outer * batch_inner + inner (say image and head), each
// with its own stride, so that heads inside a fused qkv matrix need no copy. The start of a matrix is
// off + outer * matrix_outer + inner * matrix_inner, and ld elements lie between its rows. All of these count f32,
// also with Elements of vec4 (WIDTH = 4): then they are multiples of 4, and n, and k if a load goes along it. With
// TRANS_A a load goes along m, which may be anything: it reads into the padding of A's rows, and the sums
// made of that are never stored.
//
// a, b and c hold the matrices, bias [n]. EXTRA, a constant of the kernel, is
//   UPDATE: update_alpha H opB(U) is added to the product before C is stored, which is LoRA's s (x Aᵀ) Bᵀ beside
//     x Wᵀ, or g A beside dy W: H, update_a, is [m, update_k], U, update_b, [n, update_k] with TRANS_B and
//     [update_k, n] without, both packed; update_k is a multiple of 4. With U = 0 the sums keep every bit;
//   RESIDUAL: residual, laid out as C, is added before the activation;
//   KEEP: kept, laid out as C, receives the operand of the activation, for its backward pass;
//   GELU_BACKWARD: C is the sum times gelu'(kept): the gradient before a GELU from the product that makes the
//     gradient behind it.
// Extras are read and stored by vec4.

override TRANS_A: bool = false; // A is stored as [k, m] instead of [m, k]
override TRANS_B: bool = false; // B is stored as [n, k], as PyTorch's Linear weight, instead of [k, n]
override BIAS: bool = false;
override ACCUMULATE: bool = false;
override ACTIVATION: u32 = NONE; // NONE, GELU or RELU
override RAGGED_K: bool = false; // k is not a multiple of the 4 that a round of the kernel's loop takes

// Starts of a batch element's matrices.
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

// Starts of the rows m..m+3 of opA(A). Rows beyond the last repeat it: their sums are never stored.
fn rows_of_a(origin: u32, m: u32) -> vec4<u32> {
  return origin + min(m + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.m - 1)) * select(params.lda, 1, TRANS_A);
}

// Starts of the columns n..n+3 of opB(B).
fn columns_of_b(origin: u32, n: u32) -> vec4<u32> {
  return origin + min(n + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.n - 1)) * select(1, params.ldb, TRANS_B);
}

// The four k that one load takes, the last one repeated beyond the end.
fn depths(k: u32) -> vec4<u32> {
  let four = k + vec4<u32>(0, 1, 2, 3);
  return select(four, min(four, vec4<u32>(params.k - 1)), RAGGED_K);
}

// Zeroes all beyond the last k, in each of four vectors along k.
fn without_tail(block: mat4x4<f32>, k: u32) -> mat4x4<f32> {
  if (!RAGGED_K) { return block; }
  let inside = k + vec4<u32>(0, 1, 2, 3) < vec4<u32>(params.k);
  let zero = vec4<f32>();
  return mat4x4<f32>(
    select(zero, block[0], inside), select(zero, block[1], inside),
    select(zero, block[2], inside), select(zero, block[3], inside),
  );
}

// Four rows of update_alpha H, each a vector of the elements k..k+3; zero from update_k on.
fn block_of_update_a(m: u32, k: u32) -> mat4x4<f32> {
  let inside = k < params.update_k;
  let rows = min(m + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.m - 1)) * params.update_k;
  let i = (rows + select(0, k, inside)) >> vec4<u32>(2);
  return select(0.0, params.update_alpha, inside) * mat4x4<f32>(
    load_update_a(i.x), load_update_a(i.y), load_update_a(i.z), load_update_a(i.w),
  );
}

// Four columns of opB(U), each a vector of the elements k..k+3; the first ones again from update_k on.
fn block_of_update_b(n: u32, k: u32) -> mat4x4<f32> {
  let depth = select(0, k, k < params.update_k);
  if (TRANS_B) {
    let columns = min(n + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.n - 1)) * params.update_k;
    return vectors_of_update_b(columns + depth);
  }
  return transpose(vectors_of_update_b(min(n, params.n - 4) + (depth + vec4<u32>(0, 1, 2, 3)) * params.n));
}

fn vectors_of_update_b(starts: vec4<u32>) -> mat4x4<f32> {
  let i = starts >> vec4<u32>(2);
  return mat4x4<f32>(load_update_b(i.x), load_update_b(i.y), load_update_b(i.z), load_update_b(i.w));
}

// The bias of columns n..n+3, the last one's repeated beyond the end.
fn bias_of(n: u32) -> vec4<f32> {
  if (!BIAS) { return vec4<f32>(); }
  let columns = min(n + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n - 1));
  return vec4<f32>(load_bias(columns.x), load_bias(columns.y), load_bias(columns.z), load_bias(columns.w));
}

// Stores a block's rows m..m+3, columns n..n+3, as far as they lie inside C. A loop that the driver
// cannot unroll: stores are most of what a CPU driver would have to compile.
fn store_rows(origin: u32, m: u32, n: u32, sums: mat4x4<f32>, bias: vec4<f32>) {
  if (n >= params.n) { return; }
  let rows = min(max(params.m, m) - m, 4u);
  let alpha = params.alpha;
  let ldc = params.ldc;
  for (var i = 0u; i < rows; i++) {
    let row = select(select(sums[0], sums[1], i == 1), select(sums[2], sums[3], i == 3), i > 1);
    let start = origin + (m + i) * ldc;
    store(start, n, finished(start, n, alpha * row + bias));
  }
}

// Columns n..n+3 of the row of C that starts at `row`, from sum and bias.
fn finished(row: u32, n: u32, v: vec4<f32>) -> vec4<f32> {
  let i = (row + n) >> 2;
  if (EXTRA == GELU_BACKWARD) {
    let x = load_kept(i);
    return v * vec4<f32>(gelu_derivative(x.x), gelu_derivative(x.y), gelu_derivative(x.z), gelu_derivative(x.w));
  }
  if (EXTRA == KEEP) { store_kept(i, v); }
  var sum = v;
  if (EXTRA == RESIDUAL) { sum += load_residual(i); }
  return activate(sum);
}

fn activate(x: vec4<f32>) -> vec4<f32> {
  if (ACTIVATION == GELU) { return vec4<f32>(gelu(x.x), gelu(x.y), gelu(x.z), gelu(x.w)); }
  if (ACTIVATION == RELU) { return max(x, vec4<f32>()); }
  return x;
}
