// x = value, four elements an invocation.
//
// x [4 count4]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i < params.count4) { x[i] = vec4(params.value); }
}
