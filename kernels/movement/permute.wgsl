// Copies a strided view of up to five axes into a contiguous tensor: permutations, repetitions
// (stride 0) and slices (offset).
struct Params {
  count: u32, offset: u32,
  d1: u32, d2: u32, d3: u32, d4: u32, // sizes of the last four of out's five axes
  s0: u32, s1: u32, s2: u32, s3: u32, s4: u32, // strides of x along out's axes
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  var rest = i;
  let i4 = rest % params.d4; rest /= params.d4;
  let i3 = rest % params.d3; rest /= params.d3;
  let i2 = rest % params.d2; rest /= params.d2;
  let i1 = rest % params.d1;
  let i0 = rest / params.d1;
  out[i] = x[params.offset + i0 * params.s0 + i1 * params.s1 + i2 * params.s2 + i3 * params.s3
    + i4 * params.s4];
}
