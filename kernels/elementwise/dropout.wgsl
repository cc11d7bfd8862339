// out = x / (1 - p), or 0 with probability p, decided for each element by a hash of seed and index: the
// backward pass decides alike and no mask is kept.
struct Params { count4: u32, seed: u32, threshold: u32, factor: f32 } // threshold = p 2^32
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count4) { return; }
  let random = pcg(pcg(4 * i + vec4<u32>(0, 1, 2, 3)) ^ vec4<u32>(params.seed));
  out[i] = select(vec4<f32>(), x[i] * params.factor, random >= vec4<u32>(params.threshold));
}
