// Sums over each sample that mask losses and scores are made of, as (cross entropy, p t, p, t): p is
// sigmoid(logit) and t the target. With HARD p and t are whether the logit is positive and the target
// above 1/2, and in place of the cross entropy targets are counted that are neither 0 nor 1. Each
// sample's elements go round `chunks` invocations; their sums are added up afterwards.
override HARD: bool = false;
struct Params { length: u32, chunks: u32 } // length of a sample in Elements
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Element>;
@group(0) @binding(2) var<storage, read> targets: array<Element>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // [samples, chunks]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  if (id.x >= params.chunks) { return; }
  let one = Element() + 1.0;
  let zero = Element();
  var entropy = zero;
  var both = zero;
  var predicted = zero;
  var actual = zero;
  for (var i = id.x; i < params.length; i += params.chunks) {
    let x = logits[group.y * params.length + i];
    var t = targets[group.y * params.length + i];
    var p = select(zero, one, x > zero);
    if (HARD) {
      entropy += select(one, zero, t * (t - one) == zero);
      t = select(zero, one, t > zero + 0.5);
    } else {
      let e = exp(-abs(x));
      entropy += max(x, zero) - x * t + log(one + e);
      p = select(e, one, x >= zero) / (one + e);
    }
    both += p * t;
    predicted += p;
    actual += t;
  }
  out[group.y * params.chunks + id.x] =
    vec4<f32>(total(entropy), total(both), total(predicted), total(actual));
}
