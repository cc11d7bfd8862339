// Depthwise convolution with any kernel size and stride; an invocation computes one channel Element
// of one output pixel.
override BIAS: bool;
override STRIDE: u32;
struct Params {
  count: u32,
  h: u32, w: u32, // input
  out_h: u32, out_w: u32,
  channels: u32, // in Elements
  kernel_h: u32, kernel_w: u32,
  padding: i32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> weight: array<Element>; // [kernel_h * kernel_w, channels]
@group(0) @binding(3) var<storage, read> bias: array<Element>;
@group(0) @binding(4) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let pixel = i / params.channels;
  let row = pixel / params.out_w;
  let left = i32((pixel % params.out_w) * STRIDE) - params.padding;
  let top = i32((row % params.out_h) * STRIDE) - params.padding;
  let image = row / params.out_h;
  var total = Element();
  if (BIAS) { total = bias[c]; }
  var tap = c;
  for (var ky = 0u; ky < params.kernel_h; ky++) {
    let iy = u32(top + i32(ky));
    let start = (image * params.h + iy) * params.w;
    for (var kx = 0u; kx < params.kernel_w; kx++) {
      let ix = u32(left + i32(kx));
      if (iy < params.h && ix < params.w) {
        total += weight[tap] * x[(start + ix) * params.channels + c];
      }
      tap += params.channels;
    }
  }
  out[i] = total;
}
