// Linear interpolation along the middle axis with half-pixel centres (align_corners=False, no antialiasing): along
// columns and then along rows it is bilinear resizing. An invocation computes one Element of one output; `scale` is
// inputs to an output.
//
// x [outer, n, inner] -> out [outer, m, inner], inner in Elements, `count` of them

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.inner;
  let line = i / params.inner;
  let outer = (line / params.m) * params.n;
  let s = source(line % params.m);
  let first = min(u32(s), params.n - 1);
  let second = min(first + 1, params.n - 1);
  let f = s - f32(first);
  out[i] = (1 - f) * load_x((outer + first) * params.inner + c) + f * load_x((outer + second) * params.inner + c);
}
