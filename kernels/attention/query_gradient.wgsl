// Common to the kernels of the queries' gradient: gradients with respect to the products of own queries with relative
// positions, `drelative`, laid out as `bias`, which are the sums of the scores' gradients over the keys of equal
// line and of equal column; and the gradients of the padding's scores.

fn add_down(head: u32, own: Tokens, y: u32, ds: vec4<f32>) {
  add_relative(own, relative_h_at(head, own.row, own.y, vec4<u32>(y)), ds);
}

fn add_across(head: u32, own: Tokens, x: u32, ds: vec4<f32>) {
  add_relative(own, relative_w_at(head, own.row, own.x, vec4<u32>(x)), ds);
}

fn add_relative(own: Tokens, at: vec4<u32>, ds: vec4<f32>) {
  if (own.valid.x) { drelative[at.x] += ds.x; }
  if (own.valid.y) { drelative[at.y] += ds.y; }
  if (own.valid.z) { drelative[at.z] += ds.z; }
  if (own.valid.w) { drelative[at.w] += ds.w; }
}

// Sums over the padding of probabilities and of the gradients of scores.
struct Padding { p: vec4<f32>, ds: vec4<f32> }

// The padding's gradients, which are kept in `rows` for its own key and value. One invocation of those that share
// own queries `adds` them up in memory.
fn padding_gradient(
  head: u32, own: Tokens, region: Region,
  score: vec4<f32>, log_sum: vec4<f32>, dp: vec4<f32>, delta: vec4<f32>, adds: bool,
) -> Padding {
  var sums: Padding;
  for (var x = 0u; x < params.size_w; x++) {
    var dacross = vec4<f32>();
    for (var y = select(0u, region.height, x < region.width); y < params.size_h; y++) {
      let p = exp(score + bias_to(head, own, y, x) - log_sum);
      let ds = p * (dp - delta);
      sums.p += p;
      sums.ds += ds;
      dacross += ds;
      if (BIAS == RELATIVE && adds) { add_down(head, own, y, ds); }
    }
    if (BIAS == RELATIVE && adds) { add_across(head, own, x, dacross); }
  }
  let count = params.heads * params.rows;
  for (var c = 0u; c < 4; c++) {
    if (own.valid[c] && adds) {
      let at = 2 * count + head * params.rows + own.row[c];
      rows[at] = sums.p[c];
      rows[at + count] = sums.ds[c];
    }
  }
  return sums;
}
