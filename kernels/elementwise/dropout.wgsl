// out = x / (1 - p), or 0 with probability p, decided for each element by a hash of seed and index: the backward pass
// decides alike and no mask is kept. threshold = p 2^32, factor = 1 / (1 - p).
//
// x [4 count4] -> out [4 count4]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let random = pcg(pcg(4 * i + vec4<u32>(0, 1, 2, 3)) ^ vec4<u32>(params.seed));
  out[i] = select(vec4<f32>(), x[i] * params.factor, random >= vec4<u32>(params.threshold));
}
