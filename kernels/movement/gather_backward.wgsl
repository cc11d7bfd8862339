// dtable[r] = the sum of dout[i] over the i with indices[i] = r. Each invocation looks through all
// indices for one element of the table, in a fixed order: tables are small, and WGSL has no
// floating-point atomics.
struct Params { count: u32, columns: u32, indices: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read_write> dtable: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flat_index(id, groups, 64u);
  if (at >= params.count) { return; }
  let row = at / params.columns;
  let column = at % params.columns;
  var total = 0.0;
  for (var i = 0u; i < params.indices; i++) {
    if (indices[i] == row) { total += dout[i * params.columns + column]; }
  }
  dtable[at] = total;
}
