// Attention for CPU drivers, backward to the keys and values: dv = pᵀ dO, dk = scale dsᵀ q. The mirror image of
// subgroup_query.wgsl: a lane owns 4 keys and values with their gradients, and takes 4 queries at a time
// (registers.ts). Padding has no keys of its own here.
//
// q, k, v, dout, bias, log-sum-exp and delta in `rows` -> dk, dv

var<private> key: Own;
var<private> value: Own;
var<private> key_sums: Own;
var<private> value_sums: Own;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, LANES);
  let queries = other_of(region);
  let own = block_tokens(region, region.tile * LANES + lane);
  let k_at = k_starts(head, own.row);
  let v_at = v_starts(head, own.row);
  own_k(&key, k_at, params.scale);
  own_v(&value, v_at, 1.0);

  let count = queries.height * queries.width;
  for (var i = 0u; i < count; i += 4) {
    // Lane c and its like stand for query c of the four.
    let query = linear_tokens(queries, vec4<u32>(i + lane % 4));
    var shared_q: Others;
    others_q(&shared_q, q_start(head, query.row.x), lane);
    var shared_dout: Others;
    others_dout(&shared_dout, out_start(head, query.row.x), lane);
    let block = linear_tokens(queries, i + vec4<u32>(0, 1, 2, 3));
    let s = products(&key, &shared_q) + bias_from(head, own, block);
    // A query that is not there has an infinite sum of exponentials.
    let row_at = head * params.rows + query.row.x;
    let log_sum = select(-LOWEST, load_rows(row_at), query.valid.x);
    let p = mat4x4<f32>(
      exp(s[0] - subgroupBroadcast(log_sum, 0u)),
      exp(s[1] - subgroupBroadcast(log_sum, 1u)),
      exp(s[2] - subgroupBroadcast(log_sum, 2u)),
      exp(s[3] - subgroupBroadcast(log_sum, 3u)),
    );
    if (TO_VALUE) { add_weighted(&value_sums, rounded_block(p), &shared_dout); }
    if (TO_KEY) {
      let dp = products(&value, &shared_dout);
      let delta = load_rows(row_at + params.heads * params.rows);
      let ds = mat4x4<f32>(
        p[0] * (dp[0] - subgroupBroadcast(delta, 0u)),
        p[1] * (dp[1] - subgroupBroadcast(delta, 1u)),
        p[2] * (dp[2] - subgroupBroadcast(delta, 2u)),
        p[3] * (dp[3] - subgroupBroadcast(delta, 3u)),
      );
      add_weighted(&key_sums, rounded_block(ds), &shared_q);
    }
  }

  if (own.valid[0]) { store_both(0u, k_at[0], v_at[0]); }
  if (own.valid[1]) { store_both(1u, k_at[1], v_at[1]); }
  if (own.valid[2]) { store_both(2u, k_at[2], v_at[2]); }
  if (own.valid[3]) { store_both(3u, k_at[3], v_at[3]); }
}

fn store_both(token: u32, k_at: u32, v_at: u32) {
  if (TO_KEY) { store_own_dk(&key_sums, token, params.scale, k_at); }
  if (TO_VALUE) {
    if (FUSED) { store_own_dk(&value_sums, token, 1.0, v_at); } else { store_own_dv(&value_sums, token, 1.0, v_at); }
  }
}
