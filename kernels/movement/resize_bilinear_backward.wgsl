// Gradient of bilinear resizing: each invocation gathers, for one channel Element of one input pixel,
// the output pixels that were interpolated from it.
//
// dy [images, out_h, out_w, channels] -> dx [images, h, w, channels]

// Share of input pixel i in output pixel o, by the forward pass' own arithmetic.
fn share(i: u32, o: u32, scale: f32, size: u32) -> f32 {
  let s = source(o, scale);
  let first = min(u32(s), size - 1);
  let second = min(first + 1, size - 1);
  let fraction = s - f32(first);
  return select(0.0, 1.0 - fraction, i == first) + select(0.0, fraction, i == second);
}

// The output pixels [x, y) that may hold some of input pixel i: their sources lie within a pixel of
// it, a little more for rounding, or beyond the edge.
fn range(i: u32, scale: f32, size: u32, out_size: u32) -> vec2<u32> {
  let first = select(ceil((f32(i) - 0.5) / scale - 0.51), 0.0, i == 0);
  let last = select(floor((f32(i) + 1.5) / scale - 0.49) + 1.0, f32(out_size), i == size - 1);
  return vec2(u32(max(first, 0.0)), min(u32(last), out_size));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let pixel = i / params.channels;
  let row = pixel / params.w;
  let ix = pixel % params.w;
  let iy = row % params.h;
  let first = (row / params.h) * params.out_h;
  let rows = range(iy, params.scale_y, params.h, params.out_h);
  let columns = range(ix, params.scale_x, params.w, params.out_w);
  var total = Element();
  for (var oy = rows.x; oy < rows.y; oy++) {
    var sum = Element();
    var at = ((first + oy) * params.out_w + columns.x) * params.channels + c;
    for (var ox = columns.x; ox < columns.y; ox++) {
      sum += share(ix, ox, params.scale_x, params.w) * load_dy(at);
      at += params.channels;
    }
    total += share(iy, oy, params.scale_y, params.h) * sum;
  }
  dx[i] = total;
}
