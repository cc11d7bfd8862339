// Depthwise convolution of any kernel size and stride. An invocation computes one channel Element of one
// output pixel.
//
// x [images, h, w, channels], weight [kernel_h kernel_w, channels], bias [channels]
// -> out [images, out_h, out_w, channels]

override BIAS: bool;
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
  let image = row / params.out_h;
  var total = Element();
  if (BIAS) { total = load_bias(c); }
  var tap = c;
  for (var ky = 0u; ky < params.kernel_h; ky++) {
    let iy = u32(top + i32(ky));
    let start = (image * params.h + iy) * params.w;
    for (var kx = 0u; kx < params.kernel_w; kx++) {
      let ix = u32(left + i32(kx));
      if (iy < params.h && ix < params.w) {
        total += load_weight(tap) * load_x((start + ix) * params.channels + c);
      }
      tap += params.channels;
    }
  }
  out[i] = total;
}
