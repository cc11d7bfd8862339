// From a sample's sums its Dice coefficient, its term of the loss and the coefficients of the loss's
// derivative with respect to p: ddice = coefficients.x + coefficients.y t. One invocation a sample.
//
//   dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), 1 where that is 0 / 0
//   loss = bce_weight mean(cross entropy) + dice_weight (1 - mean(dice))
struct Params {
  samples: u32, chunks: u32,
  smoothing: f32,
  bce_weight: f32, dice_weight: f32, // divided by the numbers of elements and of samples
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>; // [samples, chunks]
@group(0) @binding(2) var<storage, read_write> dice: array<f32>;
@group(0) @binding(3) var<storage, read_write> terms: array<f32>;
@group(0) @binding(4) var<storage, read_write> coefficients: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let sample = id.x;
  if (sample >= params.samples) { return; }
  var sum = vec4<f32>();
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    sum += sums[sample * params.chunks + chunk];
  }
  let numerator = 2.0 * sum.y + params.smoothing;
  let denominator = sum.z + sum.w + params.smoothing;
  var score = 1.0;
  var slope = vec2<f32>();
  if (denominator > 0.0) {
    score = numerator / denominator;
    slope = params.dice_weight / denominator * vec2<f32>(score, -2.0);
  }
  dice[sample] = score;
  terms[sample] = params.bce_weight * sum.x + params.dice_weight * (1.0 - score);
  coefficients[sample] = slope;
}
