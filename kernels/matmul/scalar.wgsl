// Access to A, B and C by single f32, for any size, alignment and stride. matmul_vec4.wgsl has the
// same functions for aligned problems.

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

// Four rows of opA(A), each a vector of the elements k..k+3.
fn load_a(rows: vec4<u32>, k: u32) -> mat4x4<f32> {
  let d = depths(k) * select(1, params.lda, TRANS_A);
  return without_tail(mat4x4<f32>(
    a[rows.x + d.x], a[rows.x + d.y], a[rows.x + d.z], a[rows.x + d.w],
    a[rows.y + d.x], a[rows.y + d.y], a[rows.y + d.z], a[rows.y + d.w],
    a[rows.z + d.x], a[rows.z + d.y], a[rows.z + d.z], a[rows.z + d.w],
    a[rows.w + d.x], a[rows.w + d.y], a[rows.w + d.z], a[rows.w + d.w],
  ), k);
}

// Four columns of opB(B), each a vector of the elements k..k+3.
fn load_b(columns: vec4<u32>, k: u32) -> mat4x4<f32> {
  let d = depths(k) * select(params.ldb, 1, TRANS_B);
  return without_tail(mat4x4<f32>(
    b[columns.x + d.x], b[columns.x + d.y], b[columns.x + d.z], b[columns.x + d.w],
    b[columns.y + d.x], b[columns.y + d.y], b[columns.y + d.z], b[columns.y + d.w],
    b[columns.z + d.x], b[columns.z + d.y], b[columns.z + d.z], b[columns.z + d.w],
    b[columns.w + d.x], b[columns.w + d.y], b[columns.w + d.z], b[columns.w + d.w],
  ), k);
}

// Stores columns n..n+3 of the row of C that starts at `row`, as far as there are so many.
fn store(row: u32, n: u32, value: vec4<f32>) {
  let columns = min(params.n - n, 4u);
  for (var i = 0u; i < columns; i++) {
    if (ACCUMULATE) { c[row + n + i] += value[i]; } else { c[row + n + i] = value[i]; }
  }
}
