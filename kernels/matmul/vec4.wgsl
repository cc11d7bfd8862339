// Access to A, B and C by vec4, for problems whose leading dimensions, offsets and strides are all
// multiples of 4, and n, and k where a load goes along it. With TRANS_A a load goes along m, which may
// be anything: what it reads beyond the last m, in the padding of A's row, adds up to rows of C that are
// never stored. matmul_scalar.wgsl has the same functions for the other problems.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>;

// Four rows of opA(A), each a vector of the elements k..k+3.
fn load_a(rows: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (TRANS_A) {
    let i = (rows.x + depths(k) * params.lda) >> vec4<u32>(2);
    return without_tail(transpose(mat4x4<f32>(a[i.x], a[i.y], a[i.z], a[i.w])), k);
  }
  let i = (rows + k) >> vec4<u32>(2);
  return without_tail(mat4x4<f32>(a[i.x], a[i.y], a[i.z], a[i.w]), k);
}

// Four columns of opB(B), each a vector of the elements k..k+3.
fn load_b(columns: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (!TRANS_B) {
    let i = (columns.x + depths(k) * params.ldb) >> vec4<u32>(2);
    return without_tail(transpose(mat4x4<f32>(b[i.x], b[i.y], b[i.z], b[i.w])), k);
  }
  let i = (columns + k) >> vec4<u32>(2);
  return without_tail(mat4x4<f32>(b[i.x], b[i.y], b[i.z], b[i.w]), k);
}

// Stores columns n..n+3 of the row of C that starts at `row`.
fn store(row: u32, n: u32, value: vec4<f32>) {
  let i = (row + n) >> 2;
  if (ACCUMULATE) { c[i] += value; } else { c[i] = value; }
}
