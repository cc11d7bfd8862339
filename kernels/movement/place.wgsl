// Copies images into frames of another size, top left corner on top left corner: what lies beyond
// the frame is cut off, what the frame has beyond the image is 0. An invocation copies one channel
// Element of four neighbouring pixels, because finding the place costs more than the copying.
struct Params {
  count: u32,
  h: u32, w: u32, // image
  out_h: u32, out_w: u32, // frame
  channels: u32, // in Elements
  quads: u32, // groups of four pixels in a row of the frame
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let quad = i / params.channels;
  let left = (quad % params.quads) * 4;
  let row = quad / params.quads;
  let y = row % params.out_h;
  let start = (row / params.out_h * params.h + y) * params.w;
  for (var px = left; px < min(left + 4, params.out_w); px++) {
    var value = Element();
    if (y < params.h && px < params.w) { value = x[(start + px) * params.channels + c]; }
    out[(row * params.out_w + px) * params.channels + c] = value;
  }
}
