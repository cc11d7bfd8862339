// out[o, offset + r, i] = x[o, r, i]: writes [outer, n, inner] into a band of [outer, total, inner].
// Concatenation is one such write an operand.
struct Params { count: u32, n: u32, inner: u32, total: u32, offset: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let inner = i % params.inner;
  let r = (i / params.inner) % params.n;
  let outer = i / (params.inner * params.n);
  out[(outer * params.total + params.offset + r) * params.inner + inner] = x[i];
}
