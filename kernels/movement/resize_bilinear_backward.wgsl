// Gradient of linear interpolation along the middle axis: each invocation gathers, for one Element of one input, the
// outputs that were interpolated from it.
//
// dy [outer, m, inner] -> dx [outer, n, inner], inner in Elements, `count` of them

// Share of input i in output o, by the forward pass' own arithmetic.
fn share(i: u32, o: u32) -> f32 {
  let s = source(o);
  let first = min(u32(s), params.n - 1);
  let second = min(first + 1, params.n - 1);
  let fraction = s - f32(first);
  return select(0.0, 1.0 - fraction, i == first) + select(0.0, fraction, i == second);
}

// The outputs [x, y) that may hold some of input i: their sources lie within one input of it, a little more for
// rounding, or beyond the edge.
fn range(i: u32) -> vec2<u32> {
  let first = select(ceil((f32(i) - 0.5) / params.scale - 0.51), 0.0, i == 0);
  let last = select(floor((f32(i) + 1.5) / params.scale - 0.49) + 1.0, f32(params.m), i == params.n - 1);
  return vec2(u32(max(first, 0.0)), min(u32(last), params.m));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let line = i / params.inner;
  let input = line % params.n;
  let outputs = range(input);
  var at = ((line / params.n) * params.m + outputs.x) * params.inner + i % params.inner;
  var total = Element();
  for (var o = outputs.x; o < outputs.y; o++) {
    total += share(input, o) * load_dy(at);
    at += params.inner;
  }
  dx[i] = total;
}
