override TRANS_A: bool;
override TRANS_B: bool;
override BIAS: bool;
override ACCUMULATE: bool;
override ACTIVATION: u32;
struct Params { m: u32, n: u32, k: u32, batch_inner: u32, lda: u32, ldb: u32, ldc: u32, off_a: u32, off_b: u32, off_c: u32,
 a_outer: u32, a_inner: u32, b_outer: u32, b_inner: u32, c_outer: u32, c_inner: u32, alpha: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.n || id.y >= params.m) { return; }
  let i = id.z / params.batch_inner; let j = id.z % params.batch_inner;
  let ao = params.off_a + i * params.a_outer + j * params.a_inner;
  let bo = params.off_b + i * params.b_outer + j * params.b_inner;
  let co = params.off_c + i * params.c_outer + j * params.c_inner + id.y * params.ldc + id.x;
  var s = 0.0;
  for (var k = 0u; k < params.k; k++) {
    var ai = id.y * params.lda + k; if (TRANS_A) { ai = k * params.lda + id.y; }
    var bi = k * params.ldb + id.x; if (TRANS_B) { bi = id.x * params.ldb + k; }
    s += a[ao + ai] * b[bo + bi];
  }
  s *= params.alpha;
  if (BIAS) { s += bias[id.x]; }
  if (ACCUMULATE) { s += c[co]; }
  if (ACTIVATION == 1u) { s = gelu(s); }
  if (ACTIVATION == 2u) { s = max(s, 0.0); }
  c[co] = s;
}
