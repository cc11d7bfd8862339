// Gradient of a depthwise convolution of any kernel size and stride with respect to its kernel, first stage: an
// invocation sums over one row of dy, for one tap and one channel Element. The rows are added up afterwards.
//
// x [images, h, w, channels], dy [images, out_h, out_w, channels]
// -> out [images out_h, kernel_h kernel_w, channels]

override STRIDE: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
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
      if (ix < params.w) { total += load_dy(at) * load_x((start + ix) * params.channels + c); }
      ix += STRIDE;
      at += params.channels;
    }
  }
  out[i] = total;
}
