// Gradient of a depthwise 3 x 3 convolution at stride 1 with respect to its kernel, first stage: the sums over one
// tile of dy, of one channel Element. As in the forward pass an invocation walks down its strip, and uses each
// row of x for the three rows of dy it went into. The tiles' sums are added up afterwards.
//
// x [images, h, w, channels], dy [images, out_h, out_w, channels] -> out [tiles, 9, channels]

// Element c of x at column ix of the row that starts at pixel `row`, 0 in the padding.
fn input(inside: bool, row: u32, ix: i32, c: u32) -> Element {
  if (!inside || u32(ix) >= params.w) { return Element(); }
  return load_x((row + u32(ix)) * params.channels + c);
}

// Element c of dy at column ox, 0 outside of the strip.
fn gradient(inside: bool, row: u32, ox: u32, c: u32) -> Element {
  if (!inside || ox >= params.out_w) { return Element(); }
  return load_dy((row + ox) * params.channels + c);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  let tile = i / params.channels;
  let left = (tile % params.columns) * TILE_COLUMNS;
  let strip = tile / params.columns;
  let top = (strip % params.strips) * params.rows;
  let image = strip / params.strips;
  let bottom = min(top + params.rows, params.out_h);

  var w00 = Element(); var w01 = Element(); var w02 = Element();
  var w10 = Element(); var w11 = Element(); var w12 = Element();
  var w20 = Element(); var w21 = Element(); var w22 = Element();
  // dy one (b) and two (a) rows above the current one.
  var a0 = Element(); var a1 = Element(); var a2 = Element(); var a3 = Element();
  var b0 = Element(); var b1 = Element(); var b2 = Element(); var b3 = Element();
  let ix = i32(left) - params.padding;
  for (var r = top; r < bottom + 2; r++) {
    let iy = i32(r) - params.padding;
    let inside = u32(iy) < params.h;
    let row = (image * params.h + u32(iy)) * params.w;
    let x0 = input(inside, row, ix, c);
    let x1 = input(inside, row, ix + 1, c);
    let x2 = input(inside, row, ix + 2, c);
    let x3 = input(inside, row, ix + 3, c);
    let x4 = input(inside, row, ix + 4, c);
    let x5 = input(inside, row, ix + 5, c);
    let within = r < bottom;
    let dy_row = (image * params.out_h + r) * params.out_w;
    let d0 = gradient(within, dy_row, left, c);
    let d1 = gradient(within, dy_row, left + 1, c);
    let d2 = gradient(within, dy_row, left + 2, c);
    let d3 = gradient(within, dy_row, left + 3, c);
    w00 += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3;
    w01 += d0 * x1 + d1 * x2 + d2 * x3 + d3 * x4;
    w02 += d0 * x2 + d1 * x3 + d2 * x4 + d3 * x5;
    w10 += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3;
    w11 += b0 * x1 + b1 * x2 + b2 * x3 + b3 * x4;
    w12 += b0 * x2 + b1 * x3 + b2 * x4 + b3 * x5;
    w20 += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3;
    w21 += a0 * x1 + a1 * x2 + a2 * x3 + a3 * x4;
    w22 += a0 * x2 + a1 * x3 + a2 * x4 + a3 * x5;
    a0 = b0; a1 = b1; a2 = b2; a3 = b3;
    b0 = d0; b1 = d1; b2 = d2; b3 = d3;
  }
  let step = params.channels;
  let at = tile * 9 * step + c;
  out[at] = w00; out[at + step] = w01; out[at + 2 * step] = w02;
  out[at + 3 * step] = w10; out[at + 4 * step] = w11; out[at + 5 * step] = w12;
  out[at + 6 * step] = w20; out[at + 7 * step] = w21; out[at + 8 * step] = w22;
}
