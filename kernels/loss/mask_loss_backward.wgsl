// dlogits = dloss (bce_weight (p - t) + (coefficients.x + coefficients.y t) p (1 - p)), with the coefficients of the
// sample as mask_loss.wgsl leaves them.
//
// logits and targets [samples, length], coefficients [samples], dloss [1] -> dlogits [samples, length], length in
// Elements

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  if (id.x >= params.length) { return; }
  let at = group.y * params.length + id.x;
  let slope = coefficients[group.y];
  let one = Element() + 1.0;
  let t = load_targets(at);
  let x = load_logits(at);
  let e = exp(-abs(x));
  let p = select(e, one, x >= Element()) / (one + e);
  // p (1 - p) without the cancellation in 1 - p.
  let derivative = e / ((one + e) * (one + e));
  dlogits[at] = dloss[0] * (params.bce_weight * (p - t) + (slope.x + slope.y * t) * derivative);
}
