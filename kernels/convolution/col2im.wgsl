// Adjoint of im2col: each pixel of x gathers the places it was copied to and adds them up. An invocation
// computes one channel Element of one pixel.
//
// col [rows, kernel_h, kernel_w, channels], bias [channels] -> x [images, h, w, channels], from image `first` on;
// the rows of col are its out_h x out_w positions.

override BIAS: bool;
override STRIDE: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let pixel = i / params.channels;
  let row = pixel / params.w;
  let image = row / params.h;
  // Pixel y was copied to tap ky of output pixel (y + padding - ky) / stride where that is whole:
  // taps one stride apart, and outputs that count down.
  let y = row % params.h + u32(params.padding);
  let px = pixel % params.w + u32(params.padding);
  let first_y = y % STRIDE;
  let first_x = px % STRIDE;
  var total = Element();
  if (BIAS) { total = load_bias(c); }
  var oy = y / STRIDE;
  for (var ky = first_y; ky < params.kernel_h; ky += STRIDE) {
    var ox = px / STRIDE;
    for (var kx = first_x; kx < params.kernel_w; kx += STRIDE) {
      if (oy < params.out_h && ox < params.out_w) {
        let source = (image * params.out_h + oy) * params.out_w + ox;
        total += load_col(((source * params.kernel_h + ky) * params.kernel_w + kx) * params.channels + c);
      }
      ox--; // beyond 0 it wraps and is outside
    }
    oy--;
  }
  x[params.first * params.h * params.w * params.channels + i] = total;
}
