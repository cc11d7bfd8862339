// A, B and C by single f32. operands_vec4.wgsl has the same functions for aligned problems.

// Four rows of opA(A), each a vector of the elements k..k+3.
fn block_of_a(rows: vec4<u32>, k: u32) -> mat4x4<f32> {
  let d = depths(k) * select(1, params.lda, TRANS_A);
  return without_tail(mat4x4<f32>(
    four_of_a(rows.x + d), four_of_a(rows.y + d), four_of_a(rows.z + d), four_of_a(rows.w + d),
  ), k);
}

fn four_of_a(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(load_a(i.x), load_a(i.y), load_a(i.z), load_a(i.w)); }

// Four columns of opB(B), each a vector of the elements k..k+3.
fn block_of_b(columns: vec4<u32>, k: u32) -> mat4x4<f32> {
  let d = depths(k) * select(params.ldb, 1, TRANS_B);
  return without_tail(mat4x4<f32>(
    four_of_b(columns.x + d), four_of_b(columns.y + d), four_of_b(columns.z + d), four_of_b(columns.w + d),
  ), k);
}

fn four_of_b(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(load_b(i.x), load_b(i.y), load_b(i.z), load_b(i.w)); }

// Stores columns n..n+3 of the row of C that starts at `row`, as far as there are so many.
fn store(row: u32, n: u32, value: vec4<f32>) {
  let columns = min(params.n - n, 4u);
  for (var i = 0u; i < columns; i++) {
    if (ACCUMULATE) { c[row + n + i] += value[i]; } else { c[row + n + i] = value[i]; }
  }
}
