// Depthwise 3 x 3 convolution at stride 1. Loads are the cost, so an invocation walks down a strip of one channel
// Element, four output columns wide: each row of six inputs that it loads goes into the three output rows it
// touches, whose sums move up by one each turn. A tile has `rows` output rows; `columns` tiles lie side by side,
// `strips` below one another.
//
// x [images, h, w, channels], weight [9, channels], bias [channels] -> out [images, out_h, out_w, channels]

override FLIP: bool; // the kernel turned by 180 degrees, for the gradient to the input
override BIAS: bool;

fn tap(t: u32, c: u32) -> Element {
  return load_weight(select(t, 8 - t, FLIP) * params.channels + c);
}

// Element c of the input at column ix of the row that starts at pixel `row`, 0 in the padding.
fn input(inside: bool, row: u32, ix: i32, c: u32) -> Element {
  if (!inside || u32(ix) >= params.w) { return Element(); }
  return load_x((row + u32(ix)) * params.channels + c);
}

fn store(row: u32, ox: u32, c: u32, value: Element) {
  if (ox < params.out_w) { out[(row + ox) * params.channels + c] = value; }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  let c = i % params.channels;
  var rest = i / params.channels;
  let left = (rest % params.columns) * TILE_COLUMNS;
  rest /= params.columns;
  let top = (rest % params.strips) * params.rows;
  let image = rest / params.strips;
  let bottom = min(top + params.rows, params.out_h);

  let w00 = tap(0, c); let w01 = tap(1, c); let w02 = tap(2, c);
  let w10 = tap(3, c); let w11 = tap(4, c); let w12 = tap(5, c);
  let w20 = tap(6, c); let w21 = tap(7, c); let w22 = tap(8, c);
  var start = Element();
  if (BIAS) { start = load_bias(c); }
  // Sums of the output rows that have had one (a) and two (b) of their three input rows.
  var a0 = start; var a1 = start; var a2 = start; var a3 = start;
  var b0 = start; var b1 = start; var b2 = start; var b3 = start;
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
    if (r >= top + 2) {
      let out_row = (image * params.out_h + r - 2) * params.out_w;
      store(out_row, left, c, b0 + w20 * x0 + w21 * x1 + w22 * x2);
      store(out_row, left + 1, c, b1 + w20 * x1 + w21 * x2 + w22 * x3);
      store(out_row, left + 2, c, b2 + w20 * x2 + w21 * x3 + w22 * x4);
      store(out_row, left + 3, c, b3 + w20 * x3 + w21 * x4 + w22 * x5);
    }
    b0 = a0 + w10 * x0 + w11 * x1 + w12 * x2;
    b1 = a1 + w10 * x1 + w11 * x2 + w12 * x3;
    b2 = a2 + w10 * x2 + w11 * x3 + w12 * x4;
    b3 = a3 + w10 * x3 + w11 * x4 + w12 * x5;
    a0 = start + w00 * x0 + w01 * x1 + w02 * x2;
    a1 = start + w00 * x1 + w01 * x2 + w02 * x3;
    a2 = start + w00 * x2 + w01 * x3 + w02 * x4;
    a3 = start + w00 * x3 + w01 * x4 + w02 * x5;
  }
}
