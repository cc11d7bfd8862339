// Copies images into frames of another size, top left corner on top left corner: the image is cut off
// beyond the frame, and the frame is 0 beyond the image. An invocation copies one channel Element of
// four neighbouring pixels, because finding the place costs more than the copying.
//
// x [images, h, w, channels] -> out [images, out_h, out_w, channels]; a row of a frame has `quads` groups of four
// pixels

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let quad = i / params.channels;
  let left = (quad % params.quads) * 4;
  let row = quad / params.quads;
  let y = row % params.out_h;
  let start = (row / params.out_h * params.h + y) * params.w;
  for (var px = left; px < min(left + 4, params.out_w); px++) {
    var value = Element();
    if (y < params.h && px < params.w) { value = load_x((start + px) * params.channels + c); }
    out[(row * params.out_w + px) * params.channels + c] = value;
  }
}
