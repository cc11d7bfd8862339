// delta[head, row] = the sum of dO O over a head's channels, which the softmax's gradient subtracts: the
// row's sum of p dp without p. An invocation a row and head.
//
// out and dout -> the second number of `rows`

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.rows * params.heads) { return; }
  let row = i / params.heads;
  let head = i % params.heads;
  let at = out_start(head, row);
  var delta = 0.0;
  for (var j = 0u; j < QUADS; j++) { delta += dot(dout_channels(at, j), out_channels(at, j)); }
  rows[(params.heads + head) * params.rows + row] = delta;
}
