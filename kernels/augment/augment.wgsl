// Augmented image in one pass: the place that a pixel comes from (a smooth shift, then the inverse of an affine
// transform), bilinear with 0 beyond the image, then gamma, gain and noise, clipped to 0..255.
//
// A workgroup takes up to 256 pixels of a row, an invocation four of them side by side. Along a row the
// shift is a spline in x alone and the gain's logarithm a polynomial in x alone: the workgroup first
// brings both to that form, so that four pixels read 4 or 5 control points in place of 64. The noise is a hash of
// seed and index, which needs no state, and gives four normal numbers at a time.
//
// image [height, width], numbers: shifts of the control points [2, rows, columns], then the gain's coefficients
// -> out [height, width]
//
// Pixels stay in place with warped = 0, and m00 to m12 bring them to pixels of the source otherwise. There is no
// shift with columns = 0, no gain with order = 0 (of its polynomials), no noise with deviation = 0. per_pixel:
// control points to a pixel.

const LANES = 64u;

var<workgroup> line: array<vec2<f32>, MAXIMUM_COLUMNS>; // shifts of this row's control points
var<workgroup> terms: array<f32, MAXIMUM_ORDER + 1>; // of P(i) in x along this row

// P(n + 1) from P(n) and P(n - 1), the Legendre polynomials.
fn legendre(n: u32, x: f32, own: f32, before: f32) -> f32 {
  return (f32(2 * n + 1) * x * own - f32(n) * before) / f32(n + 1);
}

// The shift of a column of control points, interpolated at height y.
fn interpolate(column: u32, y: f32) -> vec2<f32> {
  let place = y * params.per_pixel;
  let first = min(u32(place), params.rows - 4);
  let t = place - f32(first);
  let s = 1 - t;
  let weights = vec4(s * s * s, (3 * t - 6) * t * t + 4, ((3 - 3 * t) * t + 3) * t + 1, t * t * t) / 6;
  let stride = params.columns;
  let at = first * stride + column;
  let to = at + params.rows * stride;
  return vec2(
    dot(weights, vec4(numbers[at], numbers[at + stride], numbers[at + 2 * stride], numbers[at + 3 * stride])),
    dot(weights, vec4(numbers[to], numbers[to + stride], numbers[to + 2 * stride], numbers[to + 3 * stride])),
  );
}

// The factor of P(i) in x at height y: the sum of c(i, j) P(j) over j.
fn term(i: u32, y: f32) -> f32 {
  let place = 2 * (y + 0.5) / f32(params.height) - 1;
  // Each i' before i has order + 1 - i' coefficients, without c(0, 0).
  var at = 2 * params.columns * params.rows + i * (params.order + 1) - i * (max(i, 1u) - 1) / 2;
  at -= select(0u, 1u, i > 0);
  var p = vec2(1.0, 0.0); // P(j) and P(j - 1)
  var sum = 0.0;
  for (var j = 0u; i + j <= params.order; j++) {
    if (i + j > 0) {
      sum += numbers[at] * p[0];
      at++;
    }
    p = vec2(legendre(j, place, p[0], p[1]), p[0]);
  }
  return sum;
}

// Added to four places of this row.
struct Shift { x: vec4<f32>, y: vec4<f32> }

// Neighbours mostly share their control points: all those of the four pixels are gone through once, each
// with the cubic B-spline's value at its distance from each pixel.
fn shift(x: vec4<f32>) -> Shift {
  let place = x * params.per_pixel;
  let first = min(u32(place[0]), params.columns - 4);
  let last = min(u32(place[3]), params.columns - 4) + 3;
  var sum = Shift();
  for (var i = first; i <= last; i++) {
    let distance = abs(place - (f32(i) - 1));
    let outer = max(vec4(0.0), 2 - distance);
    let inner = max(vec4(0.0), 1 - distance);
    let weight = (outer * outer * outer - 4 * inner * inner * inner) / 6;
    let by = line[i];
    sum.x += weight * by.x;
    sum.y += weight * by.y;
  }
  return sum;
}

fn pixels(x: vec4<i32>, y: vec4<i32>) -> vec4<f32> {
  let width = i32(params.width);
  let last = vec4(width, i32(params.height), 0, 0) - 1;
  let inside = (x >= vec4(0)) & (y >= vec4(0)) & (x <= vec4(last.x)) & (y <= vec4(last.y));
  let at = clamp(y, vec4(0), vec4(last.y)) * width + clamp(x, vec4(0), vec4(last.x));
  return select(vec4<f32>(), vec4(image[at[0]], image[at[1]], image[at[2]], image[at[3]]), inside);
}

fn sample(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  // No coordinate that matters is out of this range, and all within it can be integers.
  let u = clamp(x, vec4(-2.0), vec4(f32(params.width) + 1));
  let v = clamp(y, vec4(-2.0), vec4(f32(params.height) + 1));
  let left = floor(u);
  let top = floor(v);
  let fx = u - left;
  let fy = v - top;
  let i = vec4<i32>(left);
  let j = vec4<i32>(top);
  let above = (1 - fx) * pixels(i, j) + fx * pixels(i + 1, j);
  let below = (1 - fx) * pixels(i, j + 1) + fx * pixels(i + 1, j + 1);
  return (1 - fy) * above + fy * below;
}

fn gain(x: vec4<f32>) -> vec4<f32> {
  let place = 2 * (x + 0.5) / f32(params.width) - 1;
  var sum = vec4(terms[0]);
  var own = place;
  var before = vec4(1.0);
  for (var i = 1u; i <= params.order; i++) {
    sum += terms[i] * own;
    let next = (f32(2 * i + 1) * place * own - f32(i) * before) / f32(i + 1);
    before = own;
    own = next;
  }
  return exp(sum);
}

// Four standard normal numbers (Box-Muller).
fn normal(i: u32) -> vec4<f32> {
  let bits = pcg(pcg(vec4(4 * i) + vec4<u32>(0, 1, 2, 3)) ^ vec4(params.seed));
  let even = (vec4<f32>(bits >> vec4<u32>(8)) + 0.5) / 16777216; // in (0, 1)
  let radius = sqrt(max(vec2(0.0), -2 * log(even.xy)));
  let angle = 6.283185307179586 * (even.zw - 0.5);
  return vec4(radius * cos(angle), radius * sin(angle));
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let y = f32(group.y);
  for (var column = lane; column < params.columns; column += LANES) {
    line[column] = interpolate(column, y);
  }
  if (params.order > 0 && lane <= params.order) { terms[lane] = term(lane, y); }
  workgroupBarrier();
  let first = 4 * (group.x * LANES + lane);
  if (first >= params.width) { return; }
  let count = params.width - first;
  let at = group.y * params.width + first;
  let x = f32(first) + vec4<f32>(0, 1, 2, 3);

  var value: vec4<f32>;
  if (params.warped != 0) {
    var u = x;
    var v = vec4(y);
    if (params.columns > 0) {
      let by = shift(x);
      u += by.x;
      v += by.y;
    }
    value = sample(
      params.m00 * u + params.m01 * v + params.m02,
      params.m10 * u + params.m11 * v + params.m12,
    );
  } else {
    let held = min(vec4(at) + vec4<u32>(0, 1, 2, 3), vec4(params.width * params.height - 1));
    value = vec4(image[held[0]], image[held[1]], image[held[2]], image[held[3]]);
  }
  if (params.gamma != 1) { value = 255 * pow(max(value, vec4(0.0)) / 255, vec4(params.gamma)); }
  if (params.order > 0) { value *= gain(x); }
  if (params.deviation > 0) {
    value += params.deviation * normal(group.y * ((params.width + 3) / 4) + first / 4);
  }
  value = clamp(value, vec4(0.0), vec4(255.0));
  out[at] = value[0];
  if (count > 1) { out[at + 1] = value[1]; }
  if (count > 2) { out[at + 2] = value[2]; }
  if (count > 3) { out[at + 3] = value[3]; }
}
