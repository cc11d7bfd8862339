// Cuts images [B, H, W, C] into square windows [B, rows, columns, size, size, C], zero or a pixel given
// by `fill` where a window reaches beyond the image, or puts them back together. An invocation copies one channel Element
// along a row of a window.
override UNPARTITION: bool;
override FILL: bool;
struct Params {
  count: u32,
  h: u32, w: u32, // image
  rows: u32, columns: u32, // windows down and across
  size: u32, // pixels along a window's side
  channels: u32, // in Elements
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> fill: array<Element>;
@group(0) @binding(3) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let window_row = i / params.channels;
  let window = window_row / params.size;
  let band = window / params.columns;
  let y = (band % params.rows) * params.size + window_row % params.size;
  let left = (window % params.columns) * params.size;
  var in_window = window_row * params.size * params.channels + c;
  var in_image = ((band / params.rows * params.h + y) * params.w + left) * params.channels + c;
  for (var px = left; px < left + params.size; px++) {
    let inside = y < params.h && px < params.w;
    if (UNPARTITION) {
      if (inside) { out[in_image] = x[in_window]; }
    } else {
      var value = Element();
      if (inside) { value = x[in_image]; } else if (FILL) { value = fill[c]; }
      out[in_window] = value;
    }
    in_window += params.channels;
    in_image += params.channels;
  }
}
