// Gradients with respect to the keys and values on the tiles of attention_tiled.wgsl, whose own tokens are
// keys here and whose others are queries: dv = pᵀ dO, dk = scale dsᵀ q.

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, 16u);
  let queries = other_of(region);
  let own = block_tokens(region, region.tile * 16 + local / 8);
  //: each t
  var dk$t = mat4x4<f32>();
  var dv$t = mat4x4<f32>();
  //: end

  let count = queries.height * queries.width;
  for (var first = 0u; first < count; first += OTHERS) {
    let block = linear_tokens(queries, first + 4 * (local % 8) + vec4<u32>(0, 1, 2, 3));
    show_rows(local, own, block);
    let s = params.scale * products_k_q(local, head) + bias_from(head, own, block);
    let row_at = head * params.rows + block.row;
    // A query that is not there has an infinite sum of exponentials.
    let log_sum = select(
      vec4<f32>(-LOWEST),
      vec4<f32>(rows[row_at.x], rows[row_at.y], rows[row_at.z], rows[row_at.w]),
      block.valid,
    );
    let p = mat4x4<f32>(exp(s[0] - log_sum.x), exp(s[1] - log_sum.y), exp(s[2] - log_sum.z), exp(s[3] - log_sum.w));
    if (TO_VALUE) {
      show(local, p);
      //: each t
      stage_dout(local, head, 8u * $t);
      dv$t = gathered(local, dv$t);
      //: end
    }
    if (TO_KEY) {
      let dp = products_v_dout(local, head);
      let delta_at = row_at + params.heads * params.rows;
      show(local, mat4x4<f32>(
        p[0] * (dp[0] - rows[delta_at.x]),
        p[1] * (dp[1] - rows[delta_at.y]),
        p[2] * (dp[2] - rows[delta_at.z]),
        p[3] * (dp[3] - rows[delta_at.w]),
      ));
      //: each t
      stage_q(local, head, 8u * $t);
      dk$t = gathered(local, dk$t);
      //: end
    }
  }

  for (var c = 0u; c < 4; c++) {
    if (!own.valid[c]) { continue; }
    let k_at = at_k(head, own.row[c]);
    let v_at = at_v(head, own.row[c]);
    //: each t
    let quad$t = 8u * $t + local % 8;
    if (quad$t < QUADS) {
      if (TO_KEY) { store_dk(k_at, quad$t, params.scale * dk$t[c]); }
      if (TO_VALUE) {
        if (FUSED) { store_dk(v_at, quad$t, dv$t[c]); } else { store_dv(v_at, quad$t, dv$t[c]); }
      }
    }
    //: end
  }
}
