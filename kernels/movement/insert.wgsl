// A band of out = x: out[o, offset + r, i] = x[o, r, i]. Concatenation is one such write an operand.
//
// x [outer, n, inner] -> out [outer, total, inner], inner in Elements, of which x has `count`

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let inner = i % params.inner;
  let r = (i / params.inner) % params.n;
  let outer = i / (params.inner * params.n);
  out[(outer * params.total + params.offset + r) * params.inner + inner] = load_x(i);
}
