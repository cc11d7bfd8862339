// One step of Adam or AdamW in place, in the order of torch.optim's formulas. The host folds the step
// count into step_size = lr / (1 - beta1^t) and root_correction = sqrt(1 - beta2^t).
override CLIP: bool = false; // the gradient is scaled by grad_scale[0]
struct Params {
  count4: u32,
  beta2: f32,
  rest1: f32, rest2: f32, // 1 - beta1, 1 - beta2
  eps: f32,
  step_size: f32, root_correction: f32,
  l2: f32, // weight decay that is added to the gradient (Adam)
  keep: f32, // what decoupled weight decay leaves of the parameter: 1 - lr decay (AdamW)
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count4) { return; }
  let before = parameter[i];
  var g = grad[i];
  if (CLIP) { g *= grad_scale[0]; }
  g += params.l2 * before;
  let old_m = m[i];
  let new_m = old_m + params.rest1 * (g - old_m);
  let new_v = params.beta2 * v[i] + params.rest2 * g * g;
  m[i] = new_m;
  v[i] = new_v;
  parameter[i] = params.keep * before
    - params.step_size * new_m / (sqrt(new_v) / params.root_correction + params.eps);
}
