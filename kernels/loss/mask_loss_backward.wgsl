// dlogits = dloss (bce_weight (p - t) + (coefficients.x + coefficients.y t) p (1 - p)), with the
// coefficients of the sample as mask_loss.wgsl leaves them.
struct Params { length: u32, bce_weight: f32 } // length of a sample in Elements
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Element>;
@group(0) @binding(2) var<storage, read> targets: array<Element>;
@group(0) @binding(3) var<storage, read> coefficients: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  if (id.x >= params.length) { return; }
  let at = group.y * params.length + id.x;
  let slope = coefficients[group.y];
  let one = Element() + 1.0;
  let t = targets[at];
  let x = logits[at];
  let e = exp(-abs(x));
  let p = select(e, one, x >= Element()) / (one + e);
  // p (1 - p) without the cancellation in 1 - p.
  let derivative = e / ((one + e) * (one + e));
  dlogits[at] = dloss[0] * (params.bce_weight * (p - t) + (slope.x + slope.y * t) * derivative);
}
