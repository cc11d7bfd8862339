// out = (x - mean) / sqrt(variance + eps) * weight + bias along each row, and (mean, 1 / sqrt(...)) of
// each row for the backward pass. Mean and variance come from one pass by Welford's update, which
// does not cancel when the mean is large; the streams of a row (four elements, 64 lanes) are merged
// by Chan's formula.
// Speed on llvmpipe, on two Zen 3 cores (results/bench): 5.2 GB/s over 4096 x 768, which the caches hold: 2.9 times
// the copy of 64 MiB.
struct Params { rows: u32, length: u32, eps: f32 } // length in Elements
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> weight: array<Element>;
@group(0) @binding(3) var<storage, read> bias: array<Element>;
@group(0) @binding(4) var<storage, read_write> out: array<Element>;
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let share = share_of(group, groups, lane, params.rows, params.length);
  let start = share.row * params.length;
  var count = 0.0;
  var mean = Element();
  var squares = Element();
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    count += 1.0;
    let v = x[start + i];
    let delta = v - mean;
    mean += delta * (1.0 / count);
    squares += delta * (v - mean);
  }
  let n = f32(params.length * WIDTH);
  let row_mean = row_sum(count * total(mean), lane) / n;
  let shift = mean - row_mean;
  let variance = row_sum(total(squares + count * shift * shift), lane) / n;
  let rstd = 1.0 / sqrt(variance + params.eps);
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    out[start + i] = (x[start + i] - row_mean) * rstd * weight[i] + bias[i];
  }
  if (share.row < params.rows && share.first == 0) {
    statistics[share.row] = vec2<f32>(row_mean, rstd);
  }
}
