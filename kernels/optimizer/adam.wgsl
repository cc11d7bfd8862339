// One step of Adam or AdamW in place, in the order of torch.optim's formulas. The host folds the step count into
// step_size = lr / (1 - beta1^t) and root_correction = sqrt(1 - beta2^t); rest1 and rest2 are 1 - beta1 and
// 1 - beta2. Weight decay is `l2`, added to the gradient (Adam), or decoupled, with keep = 1 - lr decay (AdamW).
//
// grad, parameter, m and v [4 count4]; with CLIP the gradient is scaled by grad_scale [1]. With SCALED it is [3],
// grad_scaler.wgsl's: that factor, 0 for a step that is skipped, and for t steps that were taken 1 / (1 - beta1^t),
// which multiplies step_size, and sqrt(1 - beta2^t), in place of root_correction.

override CLIP: bool = false; // the gradient is scaled by grad_scale[0]
override SCALED: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  var step_size = params.step_size;
  var root_correction = params.root_correction;
  if (SCALED) {
    if (grad_scale[0] == 0.0) { return; }
    step_size *= grad_scale[1];
    root_correction = grad_scale[2];
  }
  let before = load_parameter(i);
  var g = load_grad(i);
  if (CLIP) { g *= grad_scale[0]; }
  g += params.l2 * before;
  let old_m = load_m(i);
  let new_m = old_m + params.rest1 * (g - old_m);
  let new_v = params.beta2 * load_v(i) + params.rest2 * g * g;
  store_m(i, new_m);
  store_v(i, new_v);
  let change = step_size * new_m / (sqrt(new_v) / root_correction + params.eps);
  store_parameter(i, params.keep * before - change);
}
