// out = f(x), four elements an invocation.
//
// x [4 count4] -> out [4 count4]

override OP: u32; // a code of `unaryOps`

fn f(v: f32) -> f32 {
  if (OP == SCALE) { return params.factor * v; }
  if (OP == RELU) { return max(v, 0.0); }
  if (OP == GELU) { return gelu(v); }
  if (OP == SIGMOID) { return sigmoid(v); }
  if (OP == SQRT) { return sqrt(v); }
  return v;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let v = load_x(i);
  out[i] = vec4(f(v.x), f(v.y), f(v.z), f(v.w));
}
