// Gradient with respect to the queries on the tiles of tiled.wgsl: probabilities are made again from the scores and
// their log-sum-exp. With ds = p (dO vᵀ - delta): dq = scale ds k.
//
// q, k, v, dout, bias, log-sum-exp and delta in `rows` -> dq; with relative positions drelative; with padding the
// sums of p and ds over it in `rows`

@compute @workgroup_size(2 * OWN)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, OWN_BLOCKS);
  let keys = other_of(region);
  let own = block_tokens(region, region.tile * OWN_BLOCKS + local / 8);
  let row_at = head * params.rows + own.row;
  let log_sum = vec4<f32>(rows[row_at.x], rows[row_at.y], rows[row_at.z], rows[row_at.w]);
  let delta_at = row_at + params.heads * params.rows;
  let delta = vec4<f32>(rows[delta_at.x], rows[delta_at.y], rows[delta_at.z], rows[delta_at.w]);
  var d: Sums;

  let blocks = key_blocks(keys);
  for (var first = 0u; first < blocks; first += 8) {
    let block = key_block(keys, first + local % 8);
    show_rows(local, own, block.tokens);
    let s = scores_of(params.scale * products(Q, K, local, head), head, own, keys, block, first + local % 8 < blocks);
    let dp = products(DOUT, V, local, head);
    show(local, rounded_block(mat4x4<f32>(
      exp(s[0] - log_sum) * (dp[0] - delta),
      exp(s[1] - log_sum) * (dp[1] - delta),
      exp(s[2] - log_sum) * (dp[2] - delta),
      exp(s[3] - log_sum) * (dp[3] - delta),
    )));
    if (BIAS == RELATIVE) { add_shown(local, head, own, keys, first, blocks); }
    add_weighted(&d, vec4<f32>(1.0), K, local, head);
  }

  if (PADDED) {
    let score = params.scale * products_with(Q, K, head, own, params.pad_row);
    let dp = products_with(DOUT, V, head, own, params.pad_row);
    let padding = padding_gradient(head, own, region, score, log_sum, dp, delta, local % 8 == 0);
    add_weighted_one(&d, vec4<f32>(1.0), rounded(padding.ds), K, start(K, head, params.pad_row), local);
    // Nobody asks for the padding's own query.
    if (group.x == 0 && group.y == 0 && local < QUADS) {
      set_channels(Q, start(Q, head, params.pad_row), local, vec4<f32>());
    }
  }

  for (var c = 0u; c < 4; c++) {
    if (own.valid[c]) { store_sums(&d, c, params.scale, Q, start(Q, head, own.row[c]), local); }
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
