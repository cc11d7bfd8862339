// Dice coefficient of a sample, its term of the loss, and the coefficients of the loss's derivative with respect to
// p, ddice = coefficients.x + coefficients.y t, from the sums of mask_sums.wgsl. One invocation a sample.
//
//   dice = (2 sum(p t) + smoothing) / (sum(p) + sum(t) + smoothing), 1 where that is 0 / 0
//   loss = bce_weight mean(cross entropy) + dice_weight (1 - mean(dice))
//
// sums [samples, chunks] -> dice, terms and coefficients [samples]; both weights come divided by the numbers of
// elements and of samples

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
