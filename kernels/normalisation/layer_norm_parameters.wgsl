// Gradients of weight and bias, summed over chunks of rows: dweight = sum dy xhat, dbias = sum dy. A workgroup
// takes 32 columns of one chunk, so that a row's statistics are read once for all of them. The chunks' sums are
// added up afterwards.
//
// x and dy [rows, length], statistics [rows]: (mean, rstd) -> dweight and dbias [chunks, length], length in Elements

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let column = id.x;
  if (column >= params.length) { return; }
  let first = group.y * params.chunk;
  let last = min(first + params.chunk, params.rows);
  var weight_sum = Element();
  var bias_sum = Element();
  for (var row = first; row < last; row++) {
    let moments = load_statistics(row);
    let at = row * params.length + column;
    let g = load_dy(at);
    weight_sum += g * ((load_x(at) - moments.x) * moments.y);
    bias_sum += g;
  }
  dweight[group.y * params.length + column] = weight_sum;
  dbias[group.y * params.length + column] = bias_sum;
}
