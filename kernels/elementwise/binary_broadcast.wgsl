// out = a OP b with either operand repeated along any of four axes (stride 0).
//
// a with strides a0..a3, b with strides b0..b3 -> out [d0, d1, d2, d3], count elements

override OP: u32; // a code of `binaryOps`

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let i3 = i % params.d3;
  let i2 = (i / params.d3) % params.d2;
  let i1 = (i / (params.d3 * params.d2)) % params.d1;
  let i0 = i / (params.d3 * params.d2 * params.d1);
  let x = load_a(i0 * params.a0 + i1 * params.a1 + i2 * params.a2 + i3 * params.a3);
  let y = load_b(i0 * params.b0 + i1 * params.b1 + i2 * params.b2 + i3 * params.b3);
  if (OP == ADD) { out[i] = x + y; }
  if (OP == SUBTRACT) { out[i] = x - y; }
  if (OP == MULTIPLY) { out[i] = x * y; }
  if (OP == DIVIDE) { out[i] = x / y; }
}
