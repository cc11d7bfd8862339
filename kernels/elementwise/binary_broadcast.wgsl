// out = a OP b where either operand may be repeated along any of four axes (stride 0).
override OP: u32; // 0 add, 1 subtract, 2 multiply, 3 divide
struct Params {
  count: u32,
  d1: u32, d2: u32, d3: u32, // sizes of the last three of out's four axes
  a0: u32, a1: u32, a2: u32, a3: u32, // strides of a
  b0: u32, b1: u32, b2: u32, b3: u32, // strides of b
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let i3 = i % params.d3;
  let i2 = (i / params.d3) % params.d2;
  let i1 = (i / (params.d3 * params.d2)) % params.d1;
  let i0 = i / (params.d3 * params.d2 * params.d1);
  let x = a[i0 * params.a0 + i1 * params.a1 + i2 * params.a2 + i3 * params.a3];
  let y = b[i0 * params.b0 + i1 * params.b1 + i2 * params.b2 + i3 * params.b3];
  if (OP == 0u) { out[i] = x + y; }
  if (OP == 1u) { out[i] = x - y; }
  if (OP == 2u) { out[i] = x * y; }
  if (OP == 3u) { out[i] = x / y; }
}
