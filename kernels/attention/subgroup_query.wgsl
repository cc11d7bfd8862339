// Attention for CPU drivers, backward to the queries: probabilities are made again from the scores and
// their log-sum-exp. With ds = p (dO vᵀ - delta): dq = scale ds k. A lane owns 4 queries and their gradients, and
// takes 4 keys and values at a time (registers.ts).
//
// q, k, v, dout, bias, log-sum-exp and delta in `rows` -> dq; with relative positions drelative; with padding the
// sums of p and ds over it in `rows`

var<private> query: Own;
var<private> gradient: Own; // of the output
var<private> sums: Own;
var<private> log_sum: vec4<f32>;
var<private> delta: vec4<f32>;
var<private> dacross: mat4x4<f32>; // of the scores of a block's columns

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, LANES);
  let own = block_tokens(region, region.tile * LANES + lane);
  let q_at = q_starts(head, own.row);
  own_q(&query, q_at, params.scale);
  own_dout(&gradient, out_starts(head, own.row), 1.0);
  let row_at = head * params.rows + own.row;
  log_sum = vec4<f32>(rows[row_at.x], rows[row_at.y], rows[row_at.z], rows[row_at.w]);
  let delta_at = row_at + params.heads * params.rows;
  delta = vec4<f32>(rows[delta_at.x], rows[delta_at.y], rows[delta_at.z], rows[delta_at.w]);
  walk(head, own, other_of(region), lane);

  if (PADDED) {
    let score = products_with_k(&query, k_start(head, params.pad_row));
    let dp = products_with_v(&gradient, v_start(head, params.pad_row));
    let padding = padding_gradient(head, own, region, score, log_sum, dp, delta, true);
    add_weighted_k(&sums, vec4<f32>(1.0), rounded(padding.ds), k_start(head, params.pad_row));
    // Nobody asks for the padding's own query.
    if (group.x == 0 && group.y == 0 && lane == 0) {
      let at = q_start(head, params.pad_row);
      for (var quad = 0u; quad < QUADS; quad++) { set_dq(at, quad, vec4<f32>()); }
    }
  }

  if (own.valid[0]) { store_own_dq(&sums, 0u, params.scale, q_at[0]); }
  if (own.valid[1]) { store_own_dq(&sums, 1u, params.scale, q_at[1]); }
  if (own.valid[2]) { store_own_dq(&sums, 2u, params.scale, q_at[2]); }
  if (own.valid[3]) { store_own_dq(&sums, 3u, params.scale, q_at[3]); }
}

// Takes the block of four keys at (y, x).
fn take_block(head: u32, own: Tokens, keys: Region, across: mat4x4<f32>, y: u32, x: u32, lane: u32) {
  let key = key_row(keys, y, x, lane % 4);
  var shared_k: Others;
  others_k(&shared_k, k_start(head, key), lane);
  var shared_v: Others;
  others_v(&shared_v, v_start(head, key), lane);
  let s = with_bias(products(&query, &shared_k), head, own, keys, across, y, x);
  let dp = products(&gradient, &shared_v);
  let ds = rounded_block(mat4x4<f32>(
    exp(s[0] - log_sum) * (dp[0] - delta),
    exp(s[1] - log_sum) * (dp[1] - delta),
    exp(s[2] - log_sum) * (dp[2] - delta),
    exp(s[3] - log_sum) * (dp[3] - delta),
  ));
  if (BIAS == RELATIVE) {
    if (COLUMNS == 4) {
      dacross += ds;
      add_down(head, own, y, ds[0] + ds[1] + ds[2] + ds[3]);
    } else {
      dacross[0] += ds[0] + ds[2];
      dacross[1] += ds[1] + ds[3];
      add_down(head, own, y, ds[0] + ds[1]);
      if (y + 1 < keys.height) { add_down(head, own, y + 1, ds[2] + ds[3]); }
    }
  }
  add_weighted(&sums, ds, &shared_k);
}

fn end_column(head: u32, own: Tokens, keys: Region, x: u32) {
  add_across(head, own, x, dacross[0]);
  if (x + 1 < keys.width) { add_across(head, own, x + 1, dacross[1]); }
  if (COLUMNS == 4) {
    if (x + 2 < keys.width) { add_across(head, own, x + 2, dacross[2]); }
    if (x + 3 < keys.width) { add_across(head, own, x + 3, dacross[3]); }
  }
  dacross = mat4x4<f32>();
}
