// Sums over each sample that mask losses and scores are made of: (cross entropy, p t, p, t) with
// p = sigmoid(logit) and t the target. With HARD, p is 1 if the logit is positive, t is 1 if the target is above
// 1/2, and in place of the cross entropy targets are counted that are neither 0 nor 1. A sample's elements go
// round `chunks` invocations; their sums are added up afterwards.
//
// logits and targets [samples, length], length in Elements -> out [samples, chunks]

override HARD: bool = false;

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
    let x = load_logits(group.y * params.length + i);
    var t = load_targets(group.y * params.length + i);
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
