// The rule of torch.amp.GradScaler on the gradients of a step, which hold the loss's `scale`. Where all are finite the
// step is taken, clipped to max_norm as clip_scale.wgsl does, and after `interval` such steps in a row the scale
// grows; otherwise the step is skipped and the scale shrinks. Steps that are skipped do not count for Adam.
//
// squares [1] of scaled gradients -> norm [1] of unscaled ones, not finite where the step is skipped, and `step` [3]
// as adam.wgsl takes it; scale [1] and `state` [3] are updated: finite steps in a row, 1 - beta1^t, 1 - beta2^t

@compute @workgroup_size(1)
fn main() {
  let before = scale[0];
  let total = sqrt(squares[0]) / before;
  norm[0] = total;
  if ((bitcast<u32>(squares[0]) & 0x7f800000) == 0x7f800000) {
    step[0] = 0.0;
    state[0] = 0.0;
    scale[0] = params.backoff * before;
    return;
  }
  state[1] = (1.0 - params.rest1) * state[1] + params.rest1;
  state[2] = (1.0 - params.rest2) * state[2] + params.rest2;
  step[0] = min(1.0, params.max_norm / (total + 1e-6)) / before;
  step[1] = 1.0 / state[1];
  step[2] = sqrt(state[2]);
  state[0] += 1.0;
  if (state[0] == params.interval) {
    state[0] = 0.0;
    scale[0] = min(params.growth * before, 1.7e38);
  }
}
