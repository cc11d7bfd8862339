// A grey image to SAM's input, one pixel of it an invocation: resized with half-pixel centres and a
// triangle filter that widens where the image shrinks, normalised for each channel, and 0 beyond it.
struct Params {
  width: u32, height: u32, // of the image
  side: u32, out_width: u32, out_height: u32, // of the input, and of the image in it
  scale_x: f32, scale_y: f32, // image pixels to an input pixel
  mean_r: f32, mean_g: f32, mean_b: f32,
  std_r: f32, std_g: f32, std_b: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<f32>; // [height, width]
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [side, side, 3]

// The pixels under the filter about an output pixel, [first, last).
struct Taps { first: u32, last: u32, centre: f32, support: f32 }

fn taps(o: u32, scale: f32, size: u32) -> Taps {
  let support = max(1.0, scale);
  let centre = (f32(o) + 0.5) * scale;
  let first = u32(max(0.0, floor(centre - support + 0.5)));
  let last = min(size, u32(floor(centre + support + 0.5)));
  return Taps(first, last, centre, support);
}

fn weight(i: u32, t: Taps) -> f32 {
  return max(0.0, 1 - abs(f32(i) + 0.5 - t.centre) / t.support);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.side * params.side) { return; }
  let x = i % params.side;
  let y = i / params.side;
  var rgb = vec3<f32>();
  if (x < params.out_width && y < params.out_height) {
    let across = taps(x, params.scale_x, params.width);
    let down = taps(y, params.scale_y, params.height);
    var sum = 0.0;
    var weights = 0.0;
    for (var row = down.first; row < down.last; row++) {
      let along = weight(row, down);
      for (var column = across.first; column < across.last; column++) {
        let w = along * weight(column, across);
        sum += w * image[row * params.width + column];
        weights += w;
      }
    }
    rgb = (vec3(sum / weights) - vec3(params.mean_r, params.mean_g, params.mean_b)) /
      vec3(params.std_r, params.std_g, params.std_b);
  }
  out[3 * i] = rgb.x;
  out[3 * i + 1] = rgb.y;
  out[3 * i + 2] = rgb.z;
}
