// The reverse of relative_gather: out[row, offset + t] is the sum of the scores' gradients over the keys
// whose position along one axis is k = q + n - 1 - t, over all positions along the other axis; 0 where
// there is no such k.
struct Params {
  count: u32,
  n: u32, // positions along the axis
  columns: u32, // relative positions, 2 n - 1, and what fills up the rows
  stride: u32, offset: u32, // of a row of out, and where the axis begins in it
  first: u32, queries: u32, // the queries of a head
  divisor: u32, // queries from one position to the next
  score_stride: u32, // of a row of ds
  key_stride: u32, // from one key to the next along the axis
  others: u32, other_stride: u32, // keys along the other axis
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ds: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let row = i / params.columns;
  let t = i % params.columns;
  let q = (params.first + row % params.queries) / params.divisor % params.n;
  let k = q + params.n - 1 - t; // wraps around to a large number where it would be negative
  var total = 0.0;
  if (k < params.n) {
    var at = row * params.score_stride + k * params.key_stride;
    for (var other = 0u; other < params.others; other++) {
      total += ds[at];
      at += params.other_stride;
    }
  }
  out[row * params.stride + params.offset + t] = total;
}
