// Attention for CPU drivers, forward, by the online softmax of Milakov and Gimelshein (2018) in the loop order of
// FlashAttention-2 (Dao 2023): scores live in registers only.
//
// One workgroup is one subgroup of LANES lanes, the width of a vector register, as in matmul_subgroup.wgsl. Each
// lane owns 4 queries with their outputs. Of each 4 keys and values every element is loaded by one
// lane only, and subgroupBroadcast shows it to all: a load feeds 4 LANES multiply-adds.
//
// Tile: 4 LANES queries x 4 keys.
//
// Speed on llvmpipe, on two Zen 3 cores (results/bench): 10 to 16 GFLOP/s with heads of 32 in MobileSAM's windows; with heads
// of 64 20 in windows of 14 x 14 and 34 over a grid of 32 x 32. In a step the queries' gradient made 12, the keys' and
// values' 14 (from a profile, before lines were shown one by one).
// With AVX2 on 2 cores of a Xeon: 46 GFLOP/s with heads of 64 over a grid of 32 x 32, as much as
// matmul_subgroup.wgsl on linear layers and twice as fast as products with the probabilities between them in
// memory; both gradients together 41. In windows, whose queries and biases are loaded for few keys: 28 with heads
// of 64 in 14 x 14, 22 with heads of 32 in 14 x 14, 15 in 7 x 7, where products are as fast.

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
  //: each j
  let q$j = params.scale
    * transpose(mat4x4<f32>(load_q(q_at.x, $j), load_q(q_at.y, $j), load_q(q_at.z, $j), load_q(q_at.w, $j)));
  var o$j = mat4x4<f32>();
  //: end

  // The highest score so far, and the sum of exponentials of differences to it.
  var highest = vec4<f32>(LOWEST);
  var sum = vec4<f32>();
  let walk = walk_of(keys);
  for (var x = 0u; x < walk.width; x += COLUMNS) {
    let across = across_of(head, own, x);
    //: rows
    for (var y = 0u; y < walk.height; y += 4 / COLUMNS) {
      let key = walk_row(keys, y, x, lane % 4);
      let k_at = params.k_offset + head * params.head + key * params.k_row;
      //: each r
      let k$r = load_k(k_at, min($r * (LANES / 4) + lane / 4, QUADS - 1));
      //: end
      var s = mat4x4<f32>();
      //: each j
      s[0] += q$j * subgroupBroadcast(k$r, $0);
      s[1] += q$j * subgroupBroadcast(k$r, $1);
      s[2] += q$j * subgroupBroadcast(k$r, $2);
      s[3] += q$j * subgroupBroadcast(k$r, $3);
      //: end
      s = finished(s, head, own, keys, across, y, x);

      let v_at = params.v_offset + head * params.head + key * params.v_row;
      //: each r
      let v$r = load_v(v_at, min($r * (LANES / 4) + lane / 4, QUADS - 1));
      //: end
      let higher = max(max(highest, max(s[0], s[1])), max(s[2], s[3]));
      let fade = exp(highest - higher);
      highest = higher;
      let p = mat4x4<f32>(exp(s[0] - higher), exp(s[1] - higher), exp(s[2] - higher), exp(s[3] - higher));
      sum = sum * fade + p[0] + p[1] + p[2] + p[3];
      //: each j
      o$j[0] = o$j[0] * fade + p * vec4<f32>(
        subgroupBroadcast(v$r[0], $0), subgroupBroadcast(v$r[0], $1), subgroupBroadcast(v$r[0], $2), subgroupBroadcast(v$r[0], $3),
      );
      o$j[1] = o$j[1] * fade + p * vec4<f32>(
        subgroupBroadcast(v$r[1], $0), subgroupBroadcast(v$r[1], $1), subgroupBroadcast(v$r[1], $2), subgroupBroadcast(v$r[1], $3),
      );
      o$j[2] = o$j[2] * fade + p * vec4<f32>(
        subgroupBroadcast(v$r[2], $0), subgroupBroadcast(v$r[2], $1), subgroupBroadcast(v$r[2], $2), subgroupBroadcast(v$r[2], $3),
      );
      o$j[3] = o$j[3] * fade + p * vec4<f32>(
        subgroupBroadcast(v$r[3], $0), subgroupBroadcast(v$r[3], $1), subgroupBroadcast(v$r[3], $2), subgroupBroadcast(v$r[3], $3),
      );
      //: end
    }
  }

  if (PADDED) {
    // All padding has one key and one value: what differs is the bias alone.
    let k_at = params.k_offset + head * params.head + params.pad_row * params.k_row;
    let v_at = params.v_offset + head * params.head + params.pad_row * params.v_row;
    var score = vec4<f32>();
    //: each j
    score += q$j * load_k(k_at, $j);
    //: end
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
    //: each j
    let v$j = load_v(v_at, $j);
    o$j = mat4x4<f32>(
      o$j[0] * fade + p * v$j.x, o$j[1] * fade + p * v$j.y, o$j[2] * fade + p * v$j.z, o$j[3] * fade + p * v$j.w,
    );
    //: end
  }

  let factor = 1.0 / sum;
  let log_sum = highest + log(sum);
  let out_at = head * params.out_head + own.row * params.out_row;
  let row_at = head * params.rows + own.row;
  //: each i
  if (own.valid[$i]) {
    rows[row_at[$i]] = log_sum[$i];
    //: each j
    store_out(out_at[$i], $j, factor[$i] * vec4<f32>(o$j[0][$i], o$j[1][$i], o$j[2][$i], o$j[3][$i]));
    //: end
  }
  //: end
}
