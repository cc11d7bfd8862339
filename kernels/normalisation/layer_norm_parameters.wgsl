// Gradients of weight and bias, summed over chunks of rows: dweight[c] = sum dy xhat, dbias[c] = sum dy.
// A workgroup takes 32 columns of one chunk, so that a row's statistics are read once for all of them.
// The chunks' sums are added up afterwards.
struct Params { rows: u32, length: u32, chunk: u32 } // length in Elements
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<Element>;
@group(0) @binding(4) var<storage, read_write> dweight: array<Element>; // [chunks, length]
@group(0) @binding(5) var<storage, read_write> dbias: array<Element>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let column = id.x;
  if (column >= params.length) { return; }
  let first = group.y * params.chunk;
  let last = min(first + params.chunk, params.rows);
  var weight_sum = Element();
  var bias_sum = Element();
  for (var row = first; row < last; row++) {
    let moments = statistics[row];
    let at = row * params.length + column;
    let g = dy[at];
    weight_sum += g * ((x[at] - moments.x) * moments.y);
    bias_sum += g;
  }
  dweight[group.y * params.length + column] = weight_sum;
  dbias[group.y * params.length + column] = bias_sum;
}
