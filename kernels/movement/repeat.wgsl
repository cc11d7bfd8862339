// out = x repeated end to end, four elements an invocation: x's length is a multiple of 4, or with SCALAR 1.
//
// x [4 x_count4] -> out [4 count4]

override SCALAR: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let value = load_x(i % params.x_count4);
  out[i] = select(value, value.xxxx, SCALAR);
}
