// out = a OP b where b is as large as a or is repeated along a's leading axes (a bias, a position
// embedding); four elements an invocation, so b's length is a multiple of 4 or equal to a's.
// Speed on llvmpipe, on two Zen 3 cores (results/bench): 6.2 GB/s for a sum of 4 M elements, 3.5 times the copy of
// 64 MiB, of which the caches hold less.
override OP: u32; // 0 add, 1 subtract, 2 multiply, 3 divide
struct Params { count4: u32, b_count4: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count4) { return; }
  let x = a[i];
  let y = b[i % params.b_count4] * params.scale;
  if (OP == 0u) { out[i] = x + y; }
  if (OP == 1u) { out[i] = x - y; }
  if (OP == 2u) { out[i] = x * y; }
  if (OP == 3u) { out[i] = x / y; }
}
