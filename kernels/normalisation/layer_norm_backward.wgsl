// dx = rstd (g - mean(g) - xhat mean(g xhat)) along each row, with g = weight dy and xhat = (x - mean) rstd.
//
// x and dy [rows, length], weight [length], statistics [rows]: (mean, rstd) -> dx [rows, length], length in Elements

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let share = share_of(group, groups, lane, params.rows, params.length);
  let start = share.row * params.length;
  let moments = load_statistics(min(share.row, params.rows - 1));
  let mean = moments.x;
  let rstd = moments.y;
  var g_sum = Element();
  var gx_sum = Element();
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let g = load_weight(i) * load_dy(start + i);
    g_sum += g;
    gx_sum += g * ((load_x(start + i) - mean) * rstd);
  }
  let n = f32(params.length * WIDTH);
  let g_mean = row_sum(total(g_sum), lane) / n;
  let gx_mean = row_sum(total(gx_sum), lane) / n;
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let xhat = (load_x(start + i) - mean) * rstd;
    dx[start + i] = rstd * (load_weight(i) * load_dy(start + i) - g_mean - xhat * gx_mean);
  }
}
