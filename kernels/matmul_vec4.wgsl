// Access to A, B and C by vec4, for problems whose contiguous extents, leading dimensions, offsets
// and strides are all multiples of 4. matmul_scalar.wgsl has the same functions for the others.

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
  return mat4x4<f32>(a[i.x], a[i.y], a[i.z], a[i.w]);
}

// Four columns of opB(B), each a vector of the elements k..k+3.
fn load_b(columns: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (!TRANS_B) {
    let i = (columns.x + depths(k) * params.ldb) >> vec4<u32>(2);
    return without_tail(transpose(mat4x4<f32>(b[i.x], b[i.y], b[i.z], b[i.w])), k);
  }
  let i = (columns + k) >> vec4<u32>(2);
  return mat4x4<f32>(b[i.x], b[i.y], b[i.z], b[i.w]);
}

// Stores columns n..n+3 of row m, if they lie inside C.
fn store(origin: u32, m: u32, n: u32, sums: vec4<f32>) {
  if (m < params.m && n < params.n) {
    let i = (origin + m * params.ldc + n) >> 2;
    var value = scaled(sums, n);
    if (ACCUMULATE) { value += c[i]; }
    c[i] = value;
  }
}

// Applies the activation to columns n..n+3 of row m in place.
fn activate_stored(origin: u32, m: u32, n: u32) {
  if (m < params.m && n < params.n) {
    let i = (origin + m * params.ldc + n) >> 2;
    let x = c[i];
    c[i] = vec4<f32>(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
  }
}
