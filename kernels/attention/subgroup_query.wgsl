// Attention for CPU drivers, backward to the queries: probabilities are made again from the scores and
// their log-sum-exp. With ds = p (dO vᵀ - delta): dq = scale ds k.
//
// Lanes and loads as in attention_subgroup.wgsl. With relative positions the sums of ds over the keys of
// equal row and of equal column are added to `drelative`, laid out as the products were; with padding the sums of p
// and ds over it are kept for its own gradients.
//
// Tile: 4 LANES queries x 4 keys.

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, LANES);
  let keys = other_of(region);
  let own = block_tokens(region, region.tile * LANES + lane);
  let q_at = params.q_offset + head * params.head + own.row * params.q_row;
  let out_at = head * params.out_head + own.row * params.out_row;
  //: each j
  let q$j = params.scale
    * transpose(mat4x4<f32>(load_q(q_at.x, $j), load_q(q_at.y, $j), load_q(q_at.z, $j), load_q(q_at.w, $j)));
  let g$j = transpose(mat4x4<f32>(
    load_dout(out_at.x, $j), load_dout(out_at.y, $j), load_dout(out_at.z, $j), load_dout(out_at.w, $j),
  ));
  var d$j = mat4x4<f32>();
  //: end
  let row_at = head * params.rows + own.row;
  let log_sum = vec4<f32>(rows[row_at.x], rows[row_at.y], rows[row_at.z], rows[row_at.w]);
  let delta_at = row_at + params.heads * params.rows;
  let delta = vec4<f32>(rows[delta_at.x], rows[delta_at.y], rows[delta_at.z], rows[delta_at.w]);

  let walk = walk_of(keys);
  for (var x = 0u; x < walk.width; x += COLUMNS) {
    let across = across_of(head, own, x);
    var dacross = mat4x4<f32>();
    //: rows
    for (var y = 0u; y < walk.height; y += 4 / COLUMNS) {
      let key = walk_row(keys, y, x, lane % 4);
      let k_at = params.k_offset + head * params.head + key * params.k_row;
      let v_at = params.v_offset + head * params.head + key * params.v_row;
      //: each r
      let k$r = load_k(k_at, min($r * (LANES / 4) + lane / 4, QUADS - 1));
      let v$r = load_v(v_at, min($r * (LANES / 4) + lane / 4, QUADS - 1));
      //: end
      var s = mat4x4<f32>();
      var dp = mat4x4<f32>();
      //: each j
      s[0] += q$j * subgroupBroadcast(k$r, $0);
      s[1] += q$j * subgroupBroadcast(k$r, $1);
      s[2] += q$j * subgroupBroadcast(k$r, $2);
      s[3] += q$j * subgroupBroadcast(k$r, $3);
      dp[0] += g$j * subgroupBroadcast(v$r, $0);
      dp[1] += g$j * subgroupBroadcast(v$r, $1);
      dp[2] += g$j * subgroupBroadcast(v$r, $2);
      dp[3] += g$j * subgroupBroadcast(v$r, $3);
      //: end
      s = finished(s, head, own, keys, across, y, x);
      let ds = mat4x4<f32>(
        exp(s[0] - log_sum) * (dp[0] - delta),
        exp(s[1] - log_sum) * (dp[1] - delta),
        exp(s[2] - log_sum) * (dp[2] - delta),
        exp(s[3] - log_sum) * (dp[3] - delta),
      );
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
      //: each j
      d$j[0] += ds * vec4<f32>(
        subgroupBroadcast(k$r[0], $0), subgroupBroadcast(k$r[0], $1), subgroupBroadcast(k$r[0], $2), subgroupBroadcast(k$r[0], $3),
      );
      d$j[1] += ds * vec4<f32>(
        subgroupBroadcast(k$r[1], $0), subgroupBroadcast(k$r[1], $1), subgroupBroadcast(k$r[1], $2), subgroupBroadcast(k$r[1], $3),
      );
      d$j[2] += ds * vec4<f32>(
        subgroupBroadcast(k$r[2], $0), subgroupBroadcast(k$r[2], $1), subgroupBroadcast(k$r[2], $2), subgroupBroadcast(k$r[2], $3),
      );
      d$j[3] += ds * vec4<f32>(
        subgroupBroadcast(k$r[3], $0), subgroupBroadcast(k$r[3], $1), subgroupBroadcast(k$r[3], $2), subgroupBroadcast(k$r[3], $3),
      );
      //: end
    }
    if (BIAS == RELATIVE) {
      add_across(head, own, x, dacross[0]);
      if (x + 1 < keys.width) { add_across(head, own, x + 1, dacross[1]); }
      if (COLUMNS == 4) {
        if (x + 2 < keys.width) { add_across(head, own, x + 2, dacross[2]); }
        if (x + 3 < keys.width) { add_across(head, own, x + 3, dacross[3]); }
      }
    }
  }

  if (PADDED) {
    let k_at = params.k_offset + head * params.head + params.pad_row * params.k_row;
    let v_at = params.v_offset + head * params.head + params.pad_row * params.v_row;
    var score = vec4<f32>();
    var dp = vec4<f32>();
    //: each j
    let k$j = load_k(k_at, $j);
    score += q$j * k$j;
    dp += g$j * load_v(v_at, $j);
    //: end
    var p_sum = vec4<f32>();
    var ds_sum = vec4<f32>();
    for (var x = 0u; x < params.size_w; x++) {
      var dacross = vec4<f32>();
      for (var y = select(0u, region.height, x < region.width); y < params.size_h; y++) {
        let p = exp(score + bias_to(head, own, y, x) - log_sum);
        let ds = p * (dp - delta);
        p_sum += p;
        ds_sum += ds;
        dacross += ds;
        if (BIAS == RELATIVE) { add_down(head, own, y, ds); }
      }
      if (BIAS == RELATIVE) { add_across(head, own, x, dacross); }
    }
    let sums_at = delta_at + params.heads * params.rows;
    //: each i
    if (own.valid[$i]) {
      rows[sums_at[$i]] = p_sum[$i];
      rows[sums_at[$i] + params.heads * params.rows] = ds_sum[$i];
    }
    //: end
    //: each j
    d$j += mat4x4<f32>(ds_sum * k$j.x, ds_sum * k$j.y, ds_sum * k$j.z, ds_sum * k$j.w);
    //: end
    // Nobody asks for the padding's own query.
    if (group.x == 0 && group.y == 0 && lane == 0) {
      let pad_at = params.q_offset + head * params.head + params.pad_row * params.q_row;
      //: each j
      store_dq(pad_at, $j, vec4<f32>());
      //: end
    }
  }

  //: each i
  if (own.valid[$i]) {
    //: each j
    store_dq(q_at[$i], $j, params.scale * vec4<f32>(d$j[0][$i], d$j[1][$i], d$j[2][$i], d$j[3][$i]));
    //: end
  }
  //: end
}
