// dtable[r] = the sum of dout[i] over the i with indices[i] = r. Each invocation looks through all
// indices for one element of the table, in a fixed order: tables are small, and WGSL has no
// floating-point atomics.
//
// indices [rows], dout [rows, columns] -> dtable [any, columns], count elements

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flat_index(id, groups);
  if (at >= params.count) { return; }
  let row = at / params.columns;
  let column = at % params.columns;
  var total = 0.0;
  for (var i = 0u; i < params.indices; i++) {
    if (indices[i] == row) { total += dout[i * params.columns + column]; }
  }
  dtable[at] = total;
}
