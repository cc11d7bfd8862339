// Gradient of a depthwise convolution of any kernel size and stride with respect to its input. An invocation
// gathers, for one channel Element of one input pixel, the output pixels that it went into.
//
// dy [images, out_h, out_w, channels], weight [kernel_h kernel_w, channels] -> dx [images, h, w, channels]

override STRIDE: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let pixel = i / params.channels;
  let row = pixel / params.w;
  let image = row / params.h;
  // Input pixel y meets tap ky at output pixel (y + padding - ky) / stride where that is whole: taps
  // one stride apart, and outputs that count down.
  let y = row % params.h + u32(params.padding);
  let x = pixel % params.w + u32(params.padding);
  let first_y = y % STRIDE;
  let first_x = x % STRIDE;
  var total = Element();
  var oy = y / STRIDE;
  for (var ky = first_y; ky < params.kernel_h; ky += STRIDE) {
    var ox = x / STRIDE;
    for (var kx = first_x; kx < params.kernel_w; kx += STRIDE) {
      if (oy < params.out_h && ox < params.out_w) {
        total += load_weight((ky * params.kernel_w + kx) * params.channels + c)
          * load_dy(((image * params.out_h + oy) * params.out_w + ox) * params.channels + c);
      }
      ox--; // beyond 0 it wraps and is outside
    }
    oy--;
  }
  dx[i] = total;
}
