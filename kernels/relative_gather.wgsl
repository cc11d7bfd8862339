// out[row, k] = products[row, q - k + n - 1] for the keys k = 0..n-1 along one axis of the grid, q the
// query's position along it. Rows are the queries first, first + 1, ... of one head after the other.
struct Params {
  count: u32,
  n: u32, // positions along the axis
  stride: u32, offset: u32, // of a row of products, and where the axis begins in it
  first: u32, queries: u32, // the queries of a head
  divisor: u32, // queries from one position to the next
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count) { return; }
  let row = i / params.n;
  let k = i % params.n;
  let q = (params.first + row % params.queries) / params.divisor % params.n;
  out[i] = products[row * params.stride + params.offset + q + params.n - 1 - k];
}
