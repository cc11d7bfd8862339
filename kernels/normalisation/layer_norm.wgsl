// out = (x - mean) / sqrt(variance + eps) * weight + bias along each row. Mean and variance come from one pass by
// Welford's update, which does not cancel when the mean is large; the streams of a row (four elements, 64 lanes)
// are merged by Chan's formula.
//
// x [rows, length], weight and bias [length], length in Elements
// -> out [rows, length], statistics [rows]: (mean, 1 / sqrt(variance + eps)), for the backward pass

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
    let v = load_x(start + i);
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
    out[start + i] = (load_x(start + i) - row_mean) * rstd * load_weight(i) + load_bias(i);
  }
  if (share.row < params.rows && share.first == 0) {
    statistics[share.row] = vec2<f32>(row_mean, rstd);
  }
}
