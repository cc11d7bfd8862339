// Gradient of a depthwise convolution of any kernel size and stride with respect to its kernel,
// first stage: an invocation sums over one row of dy, for one tap and one channel Element. out is
// [rows of dy, kernel_h * kernel_w, channels]; the rows are added up afterwards.
override STRIDE: u32;
struct Params {
  count: u32,
  h: u32, w: u32, // x
  out_h: u32, out_w: u32, // dy
  channels: u32, // in Elements
  kernel_h: u32, kernel_w: u32,
  padding: i32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> dy: array<Element>;
@group(0) @binding(3) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  var rest = i / params.channels;
  let kx = rest % params.kernel_w;
  rest /= params.kernel_w;
  let ky = rest % params.kernel_h;
  let row = rest / params.kernel_h;
  let image = row / params.out_h;
  let iy = u32(i32((row % params.out_h) * STRIDE + ky) - params.padding);
  var total = Element();
  if (iy < params.h) {
    let start = (image * params.h + iy) * params.w;
    var ix = u32(i32(kx) - params.padding);
    var at = row * params.out_w * params.channels + c;
    for (var ox = 0u; ox < params.out_w; ox++) {
      if (ix < params.w) { total += dy[at] * x[(start + ix) * params.channels + c]; }
      ix += STRIDE;
      at += params.channels;
    }
  }
  out[i] = total;
}
