// out = a OP scale b. b is as large as a, or is repeated along a's leading axes (a bias, a position embedding); four
// elements an invocation, so b's length is a multiple of 4 or equal to a's.
//
// a [4 count4], b [4 b_count4] -> out [4 count4]

override OP: u32; // a code of `binaryOps`

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let x = load_a(i);
  let y = load_b(i % params.b_count4) * params.scale;
  if (OP == ADD) { out[i] = x + y; }
  if (OP == SUBTRACT) { out[i] = x - y; }
  if (OP == MULTIPLY) { out[i] = x * y; }
  if (OP == DIVIDE) { out[i] = x / y; }
}
