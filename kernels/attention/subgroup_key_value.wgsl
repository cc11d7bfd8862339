// Attention for CPU drivers, backward to the keys and values: dv = pᵀ dO, dk = scale dsᵀ q.
//
// The mirror image of attention_subgroup_query.wgsl: each lane owns 4 keys and values with their gradients,
// and the lanes share the loads of 4 queries. Padding has no keys of its own here.
//
// Tile: 4 LANES keys x 4 queries.

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
  let k_at = params.k_offset + head * params.head + own.row * params.k_row;
  let v_at = params.v_offset + head * params.head + own.row * params.v_row;
  //: each j
  let k$j = params.scale
    * transpose(mat4x4<f32>(load_k(k_at.x, $j), load_k(k_at.y, $j), load_k(k_at.z, $j), load_k(k_at.w, $j)));
  let v$j = transpose(mat4x4<f32>(load_v(v_at.x, $j), load_v(v_at.y, $j), load_v(v_at.z, $j), load_v(v_at.w, $j)));
  var dk$j = mat4x4<f32>();
  var dv$j = mat4x4<f32>();
  //: end

  let count = queries.height * queries.width;
  for (var i = 0u; i < count; i += 4) {
    // Lane c and its like stand for query c of the four.
    let query = linear_tokens(queries, vec4<u32>(i + lane % 4));
    let q_at = params.q_offset + head * params.head + query.row.x * params.q_row;
    let out_at = head * params.out_head + query.row.x * params.out_row;
    //: each r
    let q$r = load_q(q_at, min($r * (LANES / 4) + lane / 4, QUADS - 1));
    let g$r = load_dout(out_at, min($r * (LANES / 4) + lane / 4, QUADS - 1));
    //: end
    var s = mat4x4<f32>();
    var dp = mat4x4<f32>();
    //: each j
    s[0] += k$j * subgroupBroadcast(q$r, $0);
    s[1] += k$j * subgroupBroadcast(q$r, $1);
    s[2] += k$j * subgroupBroadcast(q$r, $2);
    s[3] += k$j * subgroupBroadcast(q$r, $3);
    if (TO_KEY) {
      dp[0] += v$j * subgroupBroadcast(g$r, $0);
      dp[1] += v$j * subgroupBroadcast(g$r, $1);
      dp[2] += v$j * subgroupBroadcast(g$r, $2);
      dp[3] += v$j * subgroupBroadcast(g$r, $3);
    }
    //: end
    let block = linear_tokens(queries, i + vec4<u32>(0, 1, 2, 3));
    s += bias_from(head, own, block);
    // A query that is not there has an infinite sum of exponentials.
    let row_at = head * params.rows + query.row.x;
    let log_sum = select(-LOWEST, rows[row_at], query.valid.x);
    let delta = rows[row_at + params.heads * params.rows];
    let p = mat4x4<f32>(
      exp(s[0] - subgroupBroadcast(log_sum, 0u)),
      exp(s[1] - subgroupBroadcast(log_sum, 1u)),
      exp(s[2] - subgroupBroadcast(log_sum, 2u)),
      exp(s[3] - subgroupBroadcast(log_sum, 3u)),
    );
    let ds = mat4x4<f32>(
      p[0] * (dp[0] - subgroupBroadcast(delta, 0u)),
      p[1] * (dp[1] - subgroupBroadcast(delta, 1u)),
      p[2] * (dp[2] - subgroupBroadcast(delta, 2u)),
      p[3] * (dp[3] - subgroupBroadcast(delta, 3u)),
    );
    //: each j
    if (TO_VALUE) {
      dv$j[0] += p * vec4<f32>(
        subgroupBroadcast(g$r[0], $0), subgroupBroadcast(g$r[0], $1), subgroupBroadcast(g$r[0], $2), subgroupBroadcast(g$r[0], $3),
      );
      dv$j[1] += p * vec4<f32>(
        subgroupBroadcast(g$r[1], $0), subgroupBroadcast(g$r[1], $1), subgroupBroadcast(g$r[1], $2), subgroupBroadcast(g$r[1], $3),
      );
      dv$j[2] += p * vec4<f32>(
        subgroupBroadcast(g$r[2], $0), subgroupBroadcast(g$r[2], $1), subgroupBroadcast(g$r[2], $2), subgroupBroadcast(g$r[2], $3),
      );
      dv$j[3] += p * vec4<f32>(
        subgroupBroadcast(g$r[3], $0), subgroupBroadcast(g$r[3], $1), subgroupBroadcast(g$r[3], $2), subgroupBroadcast(g$r[3], $3),
      );
    }
    if (TO_KEY) {
      dk$j[0] += ds * vec4<f32>(
        subgroupBroadcast(q$r[0], $0), subgroupBroadcast(q$r[0], $1), subgroupBroadcast(q$r[0], $2), subgroupBroadcast(q$r[0], $3),
      );
      dk$j[1] += ds * vec4<f32>(
        subgroupBroadcast(q$r[1], $0), subgroupBroadcast(q$r[1], $1), subgroupBroadcast(q$r[1], $2), subgroupBroadcast(q$r[1], $3),
      );
      dk$j[2] += ds * vec4<f32>(
        subgroupBroadcast(q$r[2], $0), subgroupBroadcast(q$r[2], $1), subgroupBroadcast(q$r[2], $2), subgroupBroadcast(q$r[2], $3),
      );
      dk$j[3] += ds * vec4<f32>(
        subgroupBroadcast(q$r[3], $0), subgroupBroadcast(q$r[3], $1), subgroupBroadcast(q$r[3], $2), subgroupBroadcast(q$r[3], $3),
      );
    }
    //: end
  }

  //: each i
  if (own.valid[$i]) {
    //: each j
    let dk$j = params.scale * vec4<f32>(dk$j[0][$i], dk$j[1][$i], dk$j[2][$i], dk$j[3][$i]);
    let dv$j = vec4<f32>(dv$j[0][$i], dv$j[1][$i], dv$j[2][$i], dv$j[3][$i]);
    if (TO_KEY) { store_dk(k_at[$i], $j, dk$j); }
    if (TO_VALUE) {
      if (FUSED) { store_dk(v_at[$i], $j, dv$j); } else { store_dv(v_at[$i], $j, dv$j); }
    }
    //: end
  }
  //: end
}
