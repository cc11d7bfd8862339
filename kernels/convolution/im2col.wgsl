// Inputs of every output pixel of a convolution side by side, so that the convolution is a matrix product. An
// invocation copies one channel Element of all taps of a pixel: neighbours copy neighbouring Elements.
//
// x [images, h, w, channels], from image `first` on -> col [rows, kernel_h, kernel_w, channels], out_h x out_w rows
// an image

override STRIDE: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let pixel = i / params.channels;
  let row = pixel / params.out_w;
  let left = i32((pixel % params.out_w) * STRIDE) - params.padding;
  let top = i32((row % params.out_h) * STRIDE) - params.padding;
  let image = params.first + row / params.out_h;
  var at = pixel * params.kernel_h * params.kernel_w * params.channels + c;
  for (var ky = 0u; ky < params.kernel_h; ky++) {
    let iy = u32(top + i32(ky));
    let start = (image * params.h + iy) * params.w;
    for (var kx = 0u; kx < params.kernel_w; kx++) {
      let ix = u32(left + i32(kx));
      var value = Element();
      if (iy < params.h && ix < params.w) { value = load_x((start + ix) * params.channels + c); }
      col[at] = value;
      at += params.channels;
    }
  }
}
