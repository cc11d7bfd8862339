// dx = rstd (g - mean(g) - xhat mean(g xhat)) along each row, with g = weight dy and
// xhat = (x - mean) rstd.
struct Params { rows: u32, length: u32 } // length in Elements
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> weight: array<Element>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<Element>;
@group(0) @binding(5) var<storage, read_write> dx: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let share = share_of(group, groups, lane, params.rows, params.length);
  let start = share.row * params.length;
  let moments = statistics[min(share.row, params.rows - 1)];
  let mean = moments.x;
  let rstd = moments.y;
  var g_sum = Element();
  var gx_sum = Element();
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let g = weight[i] * dy[start + i];
    g_sum += g;
    gx_sum += g * ((x[start + i] - mean) * rstd);
  }
  let n = f32(params.length * WIDTH);
  let g_mean = row_sum(total(g_sum), lane) / n;
  let gx_mean = row_sum(total(gx_sum), lane) / n;
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let xhat = (x[start + i] - mean) * rstd;
    dx[start + i] = rstd * (weight[i] * dy[start + i] - g_mean - xhat * gx_mean);
  }
}
