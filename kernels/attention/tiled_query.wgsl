// Gradient with respect to the queries on the tiles of attention_tiled.wgsl: probabilities are made again
// from the scores and their log-sum-exp. With ds = p (dO vᵀ - delta): dq = scale ds k. What else is written is as in
// attention_subgroup_query.wgsl.

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, 16u);
  let keys = other_of(region);
  let own = block_tokens(region, region.tile * 16 + local / 8);
  let row_at = head * params.rows + own.row;
  let log_sum = vec4<f32>(rows[row_at.x], rows[row_at.y], rows[row_at.z], rows[row_at.w]);
  let delta_at = row_at + params.heads * params.rows;
  let delta = vec4<f32>(rows[delta_at.x], rows[delta_at.y], rows[delta_at.z], rows[delta_at.w]);
  //: each t
  var d$t = mat4x4<f32>();
  //: end

  let blocks = key_blocks(keys);
  for (var first = 0u; first < blocks; first += 8) {
    let block = key_block(keys, first + local % 8);
    show_rows(local, own, block.tokens);
    let s = with_bias(params.scale * products_q_k(local, head), head, own, keys, block, first + local % 8 < blocks);
    let dp = products_dout_v(local, head);
    show(local, mat4x4<f32>(
      exp(s[0] - log_sum) * (dp[0] - delta),
      exp(s[1] - log_sum) * (dp[1] - delta),
      exp(s[2] - log_sum) * (dp[2] - delta),
      exp(s[3] - log_sum) * (dp[3] - delta),
    ));
    if (BIAS == RELATIVE) { add_shown(local, head, own, keys, first, blocks); }
    //: each t
    stage_k(local, head, 8u * $t);
    d$t = gathered(local, d$t);
    //: end
  }

  if (PADDED) {
    var score = vec4<f32>();
    var dp = vec4<f32>();
    for (var quad = 0u; quad < QUADS; quad++) {
      let k = load_k(at_k(head, params.pad_row), quad);
      let v = load_v(at_v(head, params.pad_row), quad);
      for (var c = 0u; c < 4; c++) {
        score[c] += params.scale * dot(load_q(at_q(head, own.row[c]), quad), k);
        dp[c] += dot(load_dout(at_dout(head, own.row[c]), quad), v);
      }
    }
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
        if (BIAS == RELATIVE && local % 8 == 0) { add_down(head, own, y, ds); }
      }
      if (BIAS == RELATIVE && local % 8 == 0) { add_across(head, own, x, dacross); }
    }
    let sums_at = delta_at + params.heads * params.rows;
    for (var c = 0u; c < 4; c++) {
      if (own.valid[c] && local % 8 == 0) {
        rows[sums_at[c]] = p_sum[c];
        rows[sums_at[c] + params.heads * params.rows] = ds_sum[c];
      }
    }
    //: each t
    let k$t = load_k(at_k(head, params.pad_row), min(8u * $t + local % 8, QUADS - 1));
    d$t += mat4x4<f32>(ds_sum.x * k$t, ds_sum.y * k$t, ds_sum.z * k$t, ds_sum.w * k$t);
    //: end
    // Nobody asks for the padding's own query.
    if (group.x == 0 && group.y == 0 && local < QUADS) {
      for (var quad = local; quad < QUADS; quad += 128) {
        store_dq(at_q(head, params.pad_row), quad, vec4<f32>());
      }
    }
  }

  for (var c = 0u; c < 4; c++) {
    if (!own.valid[c]) { continue; }
    //: each t
    if (8u * $t + local % 8 < QUADS) {
      store_dq(at_q(head, own.row[c]), 8u * $t + local % 8, params.scale * d$t[c]);
    }
    //: end
  }
}

// One invocation of the eight that share own tokens adds the shown ds, block after block.
fn add_shown(local: u32, head: u32, own: Tokens, keys: Region, first: u32, blocks: u32) {
  if (local % 8 != 0) { return; }
  for (var i = 0u; i < 8 && first + i < blocks; i++) {
    let block = key_block(keys, first + i);
    let at = local / 8 * 32 + i;
    let ds = transpose(mat4x4<f32>(shown[at], shown[at + 8], shown[at + 16], shown[at + 24]));
    if (COLUMNS == 4) {
      add_down(head, own, block.y, ds[0] + ds[1] + ds[2] + ds[3]);
      for (var c = 0u; c < 4 && block.x + c < keys.width; c++) { add_across(head, own, block.x + c, ds[c]); }
    } else {
      add_down(head, own, block.y, ds[0] + ds[1]);
      if (block.y + 1 < keys.height) { add_down(head, own, block.y + 1, ds[2] + ds[3]); }
      add_across(head, own, block.x, ds[0] + ds[2]);
      if (block.x + 1 < keys.width) { add_across(head, own, block.x + 1, ds[1] + ds[3]); }
    }
  }
}
