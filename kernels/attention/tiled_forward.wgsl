// Forward pass of tiled.wgsl: own tokens are queries. Each tile of scores changes the highest score so far, and the
// sums made before fade accordingly (Milakov and Gimelshein 2018).
//
// q, k, v, bias -> out, and the log-sum-exp in `rows`

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
  var highest = vec4<f32>(LOWEST);
  var sum = vec4<f32>();
  var o: Sums;

  let blocks = key_blocks(keys);
  for (var first = 0u; first < blocks; first += 8) {
    let block = key_block(keys, first + local % 8);
    show_rows(local, own, block.tokens);
    let s = scores_of(params.scale * products(Q, K, local, head), head, own, keys, block, first + local % 8 < blocks);
    show(local, s);
    var higher = highest;
    for (var i = 0u; i < 8; i++) {
      let at = local / 8 * 32 + i;
      higher = max(higher, vec4<f32>(
        largest_of(shown[at]), largest_of(shown[at + 8]), largest_of(shown[at + 16]), largest_of(shown[at + 24]),
      ));
    }
    let fade = exp(highest - higher);
    highest = higher;
    let p = mat4x4<f32>(exp(s[0] - higher), exp(s[1] - higher), exp(s[2] - higher), exp(s[3] - higher));
    show(local, rounded_block(p));
    sum *= fade;
    for (var i = 0u; i < 8; i++) {
      let at = local / 8 * 32 + i;
      sum += vec4<f32>(
        dot(shown[at], vec4<f32>(1.0)), dot(shown[at + 8], vec4<f32>(1.0)),
        dot(shown[at + 16], vec4<f32>(1.0)), dot(shown[at + 24], vec4<f32>(1.0)),
      );
    }
    add_weighted(&o, fade, V, local, head);
  }

  if (PADDED) {
    let score = params.scale * products_with(Q, K, head, own, params.pad_row);
    let padding = padding_of(head, own, region);
    let higher = max(highest, score + padding.highest);
    let fade = exp(highest - higher);
    let p = rounded(padding.sum * exp(score + padding.highest - higher));
    highest = higher;
    sum = sum * fade + p;
    add_weighted_one(&o, fade, p, V, start(V, head, params.pad_row), local);
  }

  let factor = 1.0 / sum;
  let log_sum = highest + log(sum);
  for (var c = 0u; c < 4; c++) {
    if (!own.valid[c]) { continue; }
    if (local % 8 == 0) { rows[head * params.rows + own.row[c]] = log_sum[c]; }
    store_sums(&o, c, factor[c], OUT, start(OUT, head, own.row[c]), local);
  }
}

fn largest_of(v: vec4<f32>) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
