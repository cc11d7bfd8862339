// Bilinear resizing with half-pixel centres (align_corners=False, no antialiasing). An invocation computes one
// channel Element of one output pixel; scale_y and scale_x are input pixels to an output pixel.
//
// x [images, h, w, channels] -> out [images, out_h, out_w, channels]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let pixel = i / params.channels;
  let row = pixel / params.out_w;
  let ox = pixel % params.out_w;
  let oy = row % params.out_h;
  let first = (row / params.out_h) * params.h;
  let sy = source(oy, params.scale_y);
  let sx = source(ox, params.scale_x);
  let y0 = min(u32(sy), params.h - 1);
  let x0 = min(u32(sx), params.w - 1);
  let x1 = min(x0 + 1, params.w - 1);
  let above = (first + y0) * params.w;
  let below = (first + min(y0 + 1, params.h - 1)) * params.w;
  let fy = sy - f32(y0);
  let fx = sx - f32(x0);
  let a = (1 - fx) * load_x((above + x0) * params.channels + c) + fx * load_x((above + x1) * params.channels + c);
  let b = (1 - fx) * load_x((below + x0) * params.channels + c) + fx * load_x((below + x1) * params.channels + c);
  out[i] = (1 - fy) * a + fy * b;
}
