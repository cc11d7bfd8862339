// One pixel of an augmented image an invocation, in one pass: where it comes from (a smooth shift, then
// the inverse of an affine transform), bilinear with 0 beyond the image, then gamma, gain and noise,
// clipped to 0..255. The noise is a hash of seed and index, so that it needs no state.
struct Params {
  width: u32, height: u32,
  m00: f32, m01: f32, m02: f32, m10: f32, m11: f32, m12: f32, // pixels to pixels of the source
  columns: u32, rows: u32, // control points of the shift; columns is 0 without
  per_pixel: f32, // control points to a pixel
  gamma: f32,
  order: u32, // of the gain's polynomials; 0 without
  deviation: f32, seed: u32, // of the noise; deviation is 0 without
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<f32>; // [height, width]
@group(0) @binding(2) var<storage, read> numbers: array<f32>; // shifts [2, rows, columns], then the gain's
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [height, width]

// Weights of the four control points about a place t of the way between the middle two.
fn spline(t: f32) -> vec4<f32> {
  let s = 1 - t;
  return vec4(s * s * s, (3 * t - 6) * t * t + 4, ((3 - 3 * t) * t + 3) * t + 1, t * t * t) / 6;
}

fn shift(p: vec2<f32>) -> vec2<f32> {
  let place = p * params.per_pixel;
  let first = min(vec2<u32>(place), vec2(params.columns, params.rows) - 4);
  let across = spline(place.x - f32(first.x));
  var down = spline(place.y - f32(first.y));
  let plane = params.columns * params.rows;
  var sum = vec2<f32>();
  for (var j = 0u; j < 4; j++) {
    let at = (first.y + j) * params.columns + first.x;
    let x = vec4(numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]);
    let to = at + plane;
    let y = vec4(numbers[to], numbers[to + 1], numbers[to + 2], numbers[to + 3]);
    sum += down[j] * vec2(dot(across, x), dot(across, y));
  }
  return sum;
}

fn pixel(x: i32, y: i32) -> f32 {
  let inside = x >= 0 && y >= 0 && x < i32(params.width) && y < i32(params.height);
  let at = vec2<u32>(vec2(max(x, 0), max(y, 0)));
  let held = min(at, vec2(params.width, params.height) - 1);
  return select(0.0, image[held.y * params.width + held.x], inside);
}

fn sample(p: vec2<f32>) -> f32 {
  // No coordinate that matters is out of this range, and it can be an integer.
  let held = clamp(p, vec2(-2.0), vec2(f32(params.width), f32(params.height)) + 1);
  let first = floor(held);
  let f = held - first;
  let x = i32(first.x);
  let y = i32(first.y);
  let above = (1 - f.x) * pixel(x, y) + f.x * pixel(x + 1, y);
  let below = (1 - f.x) * pixel(x, y + 1) + f.x * pixel(x + 1, y + 1);
  return (1 - f.y) * above + f.y * below;
}

// P(n + 1) from P(n) and P(n - 1).
fn legendre(n: u32, x: f32, own: f32, before: f32) -> f32 {
  return (f32(2 * n + 1) * x * own - f32(n) * before) / f32(n + 1);
}

fn gain(p: vec2<f32>) -> f32 {
  let place = 2 * (p + 0.5) / vec2(f32(params.width), f32(params.height)) - 1;
  var at = 2 * params.columns * params.rows;
  var sum = 0.0;
  var x = vec2(1.0, 0.0); // P(i) and P(i - 1)
  for (var i = 0u; i <= params.order; i++) {
    var y = vec2(1.0, 0.0);
    for (var j = 0u; i + j <= params.order; j++) {
      if (i + j > 0) { // the constant is left out
        sum += numbers[at] * x[0] * y[0];
        at++;
      }
      y = vec2(legendre(j, place.y, y[0], y[1]), y[0]);
    }
    x = vec2(legendre(i, place.x, x[0], x[1]), x[0]);
  }
  return exp(sum);
}

// A standard normal number (Box-Muller).
fn normal(i: u32) -> f32 {
  let bits = pcg(pcg(vec4(4 * i) + vec4<u32>(0, 1, 2, 3)) ^ vec4(params.seed));
  let uniform_numbers = (vec2<f32>(bits.xy >> vec2<u32>(8)) + 0.5) / 16777216;
  let radius = sqrt(max(0.0, -2 * log(uniform_numbers.x)));
  return radius * cos(6.283185307179586 * (uniform_numbers.y - 0.5));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.width * params.height) { return; }
  let p = vec2(f32(i % params.width), f32(i / params.width));
  var q = p;
  if (params.columns > 0) { q += shift(p); }
  var value = sample(vec2(
    params.m00 * q.x + params.m01 * q.y + params.m02,
    params.m10 * q.x + params.m11 * q.y + params.m12,
  ));
  if (params.gamma != 1) { value = 255 * pow(max(value, 0.0) / 255, params.gamma); }
  if (params.order > 0) { value *= gain(p); }
  if (params.deviation > 0) { value += params.deviation * normal(i); }
  out[i] = clamp(value, 0.0, 255.0);
}
