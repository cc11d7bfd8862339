// Sums over the middle axis, or over chunks of it: out[o, c, i] = scale * sum_r x[o, r, i] for r in
// [c chunk, (c + 1) chunk). One invocation an output. Long sums with few outputs go in two rounds: chunks first,
// then the chunks' sums.
//
// x [outer, n, inner] -> out [outer, chunks, inner], inner in Elements, of which there are `outputs`

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.outputs) { return; }
  let inner = i % params.inner;
  let c = (i / params.inner) % params.chunks;
  let outer = i / (params.inner * params.chunks);
  let first = c * params.chunk;
  let last = min(first + params.chunk, params.n);
  var total = Element();
  var at = (outer * params.n + first) * params.inner + inner;
  for (var r = first; r < last; r++) {
    total += load_x(at);
    at += params.inner;
  }
  out[i] = params.scale * total;
}
