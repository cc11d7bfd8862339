// Grey image to SAM's input: resized with half-pixel centres and a triangle filter that widens as the image
// shrinks, normalised for each channel, and 0 beyond it. An invocation computes four pixels side by side, which
// are three vec4 of the output.
//
// image [height, width], taking out_height x out_width pixels of the input at scale_x and scale_y image pixels each
// -> out [side, side, 3]

// Grey values of four pixels from x on, in row y.
fn resized(x: u32, y: u32) -> vec4<f32> {
  let centre = (f32(x) + vec4<f32>(0, 1, 2, 3) + 0.5) * params.scale_x;
  let support = max(1.0, params.scale_x);
  let first = vec4<i32>(floor(centre - support + 0.5));
  let taps = i32(ceil(2 * support)) + 1; // those beyond the filter have no weight
  let row_centre = (f32(y) + 0.5) * params.scale_y;
  let row_support = max(1.0, params.scale_y);
  let top = i32(max(0.0, floor(row_centre - row_support + 0.5)));
  let bottom = min(i32(params.height), i32(floor(row_centre + row_support + 0.5)));
  let last = vec4(i32(params.width) - 1);
  var sum = vec4<f32>();
  var weights = vec4<f32>();
  for (var tap = 0; tap < taps; tap++) {
    let column = first + tap;
    let distance = abs(vec4<f32>(column) + 0.5 - centre) / support;
    let inside = (column >= vec4(0)) & (column <= last);
    let across = select(vec4<f32>(), max(vec4(0.0), 1 - distance), inside);
    let at = clamp(column, vec4(0), last);
    for (var row = top; row < bottom; row++) {
      let weight = across * max(0.0, 1 - abs(f32(row) + 0.5 - row_centre) / row_support);
      let place = at + row * i32(params.width);
      sum += weight * vec4(image[place[0]], image[place[1]], image[place[2]], image[place[3]]);
      weights += weight;
    }
  }
  return sum / weights;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  let fours = params.side / 4;
  if (i >= fours * params.side) { return; }
  let x = 4 * (i % fours);
  let y = i / fours;
  var r = vec4<f32>();
  var g = vec4<f32>();
  var b = vec4<f32>();
  if (x < params.out_width && y < params.out_height) {
    let grey = resized(x, y);
    let inside = vec4(x) + vec4<u32>(0, 1, 2, 3) < vec4(params.out_width);
    r = select(r, (grey - params.mean_r) / params.std_r, inside);
    g = select(g, (grey - params.mean_g) / params.std_g, inside);
    b = select(b, (grey - params.mean_b) / params.std_b, inside);
  }
  out[3 * i] = vec4(r[0], g[0], b[0], r[1]);
  out[3 * i + 1] = vec4(g[1], b[1], r[2], g[2]);
  out[3 * i + 2] = vec4(b[2], r[3], g[3], b[3]);
}
