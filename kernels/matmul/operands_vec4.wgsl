// A, B and C by vec4. operands_scalar.wgsl has the same functions for any size and alignment.

// Four rows of opA(A), each a vector of the elements k..k+3.
fn block_of_a(rows: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (TRANS_A) {
    let i = (rows.x + depths(k) * params.lda) >> vec4<u32>(2);
    return without_tail(transpose(mat4x4<f32>(load_a(i.x), load_a(i.y), load_a(i.z), load_a(i.w))), k);
  }
  let i = (rows + k) >> vec4<u32>(2);
  return without_tail(mat4x4<f32>(load_a(i.x), load_a(i.y), load_a(i.z), load_a(i.w)), k);
}

// Four columns of opB(B), each a vector of the elements k..k+3.
fn block_of_b(columns: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (!TRANS_B) {
    let i = (columns.x + depths(k) * params.ldb) >> vec4<u32>(2);
    return without_tail(transpose(mat4x4<f32>(load_b(i.x), load_b(i.y), load_b(i.z), load_b(i.w))), k);
  }
  let i = (columns + k) >> vec4<u32>(2);
  return without_tail(mat4x4<f32>(load_b(i.x), load_b(i.y), load_b(i.z), load_b(i.w)), k);
}

// Stores columns n..n+3 of the row of C that starts at `row`.
fn store(row: u32, n: u32, value: vec4<f32>) {
  let i = (row + n) >> 2;
  if (ACCUMULATE) { c[i] += value; } else { c[i] = value; }
}
