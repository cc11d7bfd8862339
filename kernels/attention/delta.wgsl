// delta[head, row] = the sum of dO O over a head's channels, which the softmax's gradient subtracts: the
// row's sum of p dp without p. An invocation a row and head.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.rows * params.heads) { return; }
  let row = i / params.heads;
  let head = i % params.heads;
  let at = row * params.out_row + head * params.out_head;
  var delta = 0.0;
  for (var j = 0u; j < QUADS; j++) { delta += dot(load_dout(at, j), load_out(at, j)); }
  rows[(params.heads + head) * params.rows + row] = delta;
}
