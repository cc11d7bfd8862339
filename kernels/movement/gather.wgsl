// out[i] = table[indices[i]], rows of `columns` elements.
//
// table [any, columns], indices [rows] -> out [rows, columns], count elements

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  out[i] = table[indices[i / params.columns] * params.columns + i % params.columns];
}
