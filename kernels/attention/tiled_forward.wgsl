// Forward pass of attention_tiled.wgsl: own tokens are queries. Each tile of scores changes the highest score so far, and
// what was summed fades accordingly (Milakov and Gimelshein 2018).

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
  var highest = vec4<f32>(LOWEST);
  var sum = vec4<f32>();
  //: each t
  var o$t = mat4x4<f32>();
  //: end

  let blocks = key_blocks(keys);
  for (var first = 0u; first < blocks; first += 8) {
    let block = key_block(keys, first + local % 8);
    show_rows(local, own, block.tokens);
    let s = with_bias(params.scale * products_q_k(local, head), head, own, keys, block, first + local % 8 < blocks);
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
    show(local, mat4x4<f32>(exp(s[0] - higher), exp(s[1] - higher), exp(s[2] - higher), exp(s[3] - higher)));
    sum *= fade;
    for (var i = 0u; i < 8; i++) {
      let at = local / 8 * 32 + i;
      sum += vec4<f32>(
        dot(shown[at], vec4<f32>(1.0)), dot(shown[at + 8], vec4<f32>(1.0)),
        dot(shown[at + 16], vec4<f32>(1.0)), dot(shown[at + 24], vec4<f32>(1.0)),
      );
    }
    //: each t
    stage_v(local, head, 8u * $t);
    o$t = gathered(local, mat4x4<f32>(o$t[0] * fade.x, o$t[1] * fade.y, o$t[2] * fade.z, o$t[3] * fade.w));
    //: end
  }

  if (PADDED) {
    // All padding has one key and one value: what differs is the bias alone.
    let score = params.scale * scores_of_padding(head, own);
    var pad_highest = vec4<f32>(LOWEST);
    var pad_sum = vec4<f32>();
    for (var x = 0u; x < params.size_w; x++) {
      for (var y = select(0u, region.height, x < region.width); y < params.size_h; y++) {
        let b = bias_to(head, own, y, x);
        let higher = max(pad_highest, b);
        pad_sum = pad_sum * exp(pad_highest - higher) + exp(b - higher);
        pad_highest = higher;
      }
    }
    let higher = max(highest, score + pad_highest);
    let fade = exp(highest - higher);
    let p = pad_sum * exp(score + pad_highest - higher);
    highest = higher;
    sum = sum * fade + p;
    //: each t
    let v$t = load_v(at_v(head, params.pad_row), min(8u * $t + local % 8, QUADS - 1));
    o$t = mat4x4<f32>(
      o$t[0] * fade.x + p.x * v$t, o$t[1] * fade.y + p.y * v$t, o$t[2] * fade.z + p.z * v$t, o$t[3] * fade.w + p.w * v$t,
    );
    //: end
  }

  let factor = 1.0 / sum;
  let log_sum = highest + log(sum);
  for (var c = 0u; c < 4; c++) {
    if (!own.valid[c]) { continue; }
    if (local % 8 == 0) { rows[head * params.rows + own.row[c]] = log_sum[c]; }
    let at = head * params.out_head + own.row[c] * params.out_row;
    //: each t
    if (8u * $t + local % 8 < QUADS) { store_out(at, 8u * $t + local % 8, factor[c] * o$t[c]); }
    //: end
  }
}

fn largest_of(v: vec4<f32>) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

fn scores_of_padding(head: u32, own: Tokens) -> vec4<f32> {
  var score = vec4<f32>();
  for (var quad = 0u; quad < QUADS; quad++) {
    let k = load_k(at_k(head, params.pad_row), quad);
    for (var c = 0u; c < 4; c++) { score[c] += dot(load_q(at_q(head, own.row[c]), quad), k); }
  }
  return score;
}
