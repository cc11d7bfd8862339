// f16 to f32, four elements an invocation.
//
// x [4 count4], two to a word -> out [4 count4]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let v = x[i];
  out[i] = vec4(unpack2x16float(v.x), unpack2x16float(v.y));
}
