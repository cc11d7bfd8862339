// Attention for CPU drivers, forward, by the online softmax of Milakov and Gimelshein (2018) in the loop order of
// FlashAttention-2 (Dao 2023): scores live in registers only. A lane owns 4 queries and their outputs, and takes 4
// keys and values at a time (registers.ts).
//
// q, k, v, bias -> out, and the log-sum-exp in `rows`
//
// Speed on llvmpipe, on two Zen 3 cores (results/bench): 10 to 16 GFLOP/s with heads of 32 in MobileSAM's windows;
// with heads of 64 20 in windows of 14 x 14 and 34 over a grid of 32 x 32. With AVX2 on 2 cores of a Xeon 46 with
// heads of 64 over a grid of 32 x 32, as much as matmul/subgroup.wgsl on linear layers and twice as fast as products
// with the probabilities between them in memory. In windows, whose queries and biases are loaded for few keys, 15
// to 28; in 7 x 7 products are as fast.

var<private> query: Own;
var<private> sums: Own;
var<private> softmax: Softmax;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.z;
  let region = region_of(group.y * groups.x + group.x, LANES);
  let own = block_tokens(region, region.tile * LANES + lane);
  own_q(&query, q_starts(head, own.row), params.scale);
  softmax.highest = vec4<f32>(LOWEST);
  walk(head, own, other_of(region), lane);

  if (PADDED) {
    // All padding has one key and one value: the bias alone differs.
    let score = products_with_k(&query, k_start(head, params.pad_row));
    let padding = padding_of(head, own, region);
    let higher = max(softmax.highest, score + padding.highest);
    let fade = exp(softmax.highest - higher);
    let p = rounded(padding.sum * exp(score + padding.highest - higher));
    softmax = Softmax(higher, softmax.sum * fade + p);
    add_weighted_v(&sums, fade, p, v_start(head, params.pad_row));
  }

  let factor = 1.0 / softmax.sum;
  let log_sum = softmax.highest + log(softmax.sum);
  let out_at = out_starts(head, own.row);
  let row_at = head * params.rows + own.row;
  if (own.valid[0]) { rows[row_at[0]] = log_sum[0]; store_own_out(&sums, 0u, factor[0], out_at[0]); }
  if (own.valid[1]) { rows[row_at[1]] = log_sum[1]; store_own_out(&sums, 1u, factor[1], out_at[1]); }
  if (own.valid[2]) { rows[row_at[2]] = log_sum[2]; store_own_out(&sums, 2u, factor[2], out_at[2]); }
  if (own.valid[3]) { rows[row_at[3]] = log_sum[3]; store_own_out(&sums, 3u, factor[3], out_at[3]); }
}

// Takes the block of four keys at (y, x).
fn take_block(head: u32, own: Tokens, keys: Region, across: mat4x4<f32>, y: u32, x: u32, lane: u32) {
  let key = key_row(keys, y, x, lane % 4);
  var shared_k: Others;
  others_k(&shared_k, k_start(head, key), lane);
  let s = with_bias(products(&query, &shared_k), head, own, keys, across, y, x);
  var shared_v: Others;
  others_v(&shared_v, v_start(head, key), lane);
  let higher = max(max(softmax.highest, max(s[0], s[1])), max(s[2], s[3]));
  let fade = exp(softmax.highest - higher);
  let p = rounded_block(
    mat4x4<f32>(exp(s[0] - higher), exp(s[1] - higher), exp(s[2] - higher), exp(s[3] - higher)),
  );
  softmax = Softmax(higher, softmax.sum * fade + p[0] + p[1] + p[2] + p[3]);
  fade_and_add_weighted(&sums, fade, p, &shared_v);
}

fn end_column(head: u32, own: Tokens, keys: Region, x: u32) {}
