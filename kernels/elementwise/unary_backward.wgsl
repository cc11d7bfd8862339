// dx = f'(x) dy, four elements an invocation. x is f's input, or f's output if f' is simpler in terms of that
// (sigmoid, sqrt).
//
// x and dy [4 count4] -> dx [4 count4]

override OP: u32; // a code of `unaryOps`

fn derivative(v: f32) -> f32 {
  if (OP == SCALE) { return params.factor; }
  if (OP == RELU) { return select(0.0, 1.0, v > 0.0); }
  if (OP == GELU) { return gelu_derivative(v); }
  if (OP == SIGMOID) { return v * (1.0 - v); }
  if (OP == SQRT) { return 0.5 / v; }
  return 1.0;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let v = load_x(i);
  dx[i] = load_dy(i) * vec4(derivative(v.x), derivative(v.y), derivative(v.z), derivative(v.w));
}
