// Gradients with respect to the keys and values on the tiles of tiled.wgsl, whose own tokens are keys here and whose
// others are queries: dv = pᵀ dO, dk = scale dsᵀ q.
//
// q, k, v, dout, bias, log-sum-exp and delta in `rows` -> dk, dv

@compute @workgroup_size(2 * OWN)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, OWN_BLOCKS);
  let queries = other_of(region);
  let own = block_tokens(region, region.tile * OWN_BLOCKS + local / 8);
  var dk: Sums;
  var dv: Sums;

  let count = queries.height * queries.width;
  for (var first = 0u; first < count; first += OTHERS) {
    let block = linear_tokens(queries, first + 4 * (local % 8) + vec4<u32>(0, 1, 2, 3));
    show_rows(local, own, block);
    let s = params.scale * products(K, Q, local, head) + bias_from(head, own, block);
    let row_at = head * params.rows + block.row;
    // A query that is not there has an infinite sum of exponentials.
    let log_sum = select(
      vec4<f32>(-LOWEST),
      vec4<f32>(load_rows(row_at.x), load_rows(row_at.y), load_rows(row_at.z), load_rows(row_at.w)),
      block.valid,
    );
    let p = mat4x4<f32>(exp(s[0] - log_sum.x), exp(s[1] - log_sum.y), exp(s[2] - log_sum.z), exp(s[3] - log_sum.w));
    if (TO_VALUE) {
      show(local, rounded_block(p));
      add_weighted(&dv, vec4<f32>(1.0), DOUT, local, head);
    }
    if (TO_KEY) {
      let dp = products(V, DOUT, local, head);
      let delta_at = row_at + params.heads * params.rows;
      show(local, rounded_block(mat4x4<f32>(
        p[0] * (dp[0] - load_rows(delta_at.x)),
        p[1] * (dp[1] - load_rows(delta_at.y)),
        p[2] * (dp[2] - load_rows(delta_at.z)),
        p[3] * (dp[3] - load_rows(delta_at.w)),
      )));
      add_weighted(&dk, vec4<f32>(1.0), Q, local, head);
    }
  }

  for (var c = 0u; c < 4; c++) {
    if (!own.valid[c]) { continue; }
    if (TO_KEY) { store_sums(&dk, c, params.scale, K, start(K, head, own.row[c]), local); }
    let v_at = start(V, head, own.row[c]);
    if (TO_VALUE) {
      if (FUSED) { store_sums(&dv, c, 1.0, K, v_at, local); } else { store_sums(&dv, c, 1.0, V, v_at, local); }
    }
  }
}
