// The gradient with respect to a table of biases: that of the scores, summed over all windows. An
// invocation a head, query and key; scores are made again. For training the table itself, which is rare.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  let n = params.size_h * params.size_w;
  if (i >= params.heads * n * n) { return; }
  let head = i / (n * n);
  let query = i / n % n;
  let key = i % n;
  let bias_of_pair = bias[i];
  let windows = params.windows_y * params.windows_x;
  var total = 0.0;
  for (var window = 0u; window < params.batch * windows; window++) {
    let image = window / windows;
    let top = window % windows / params.windows_x * params.size_h;
    let left = window % params.windows_x * params.size_w;
    let query_row = row_of(image, top + query / params.size_w, left + query % params.size_w);
    if (query_row == params.pad_row) { continue; }
    let key_row = row_of(image, top + key / params.size_w, left + key % params.size_w);
    let q_at = params.q_offset + head * params.head + query_row * params.q_row;
    let k_at = params.k_offset + head * params.head + key_row * params.k_row;
    let v_at = params.v_offset + head * params.head + key_row * params.v_row;
    let out_at = head * params.out_head + query_row * params.out_row;
    var score = 0.0;
    var dp = 0.0;
    for (var j = 0u; j < QUADS; j++) {
      score += dot(load_q(q_at, j), load_k(k_at, j));
      dp += dot(load_dout(out_at, j), load_v(v_at, j));
    }
    let at = head * params.rows + query_row;
    total += exp(params.scale * score + bias_of_pair - rows[at]) * (dp - rows[at + params.heads * params.rows]);
  }
  dbias[i] = total;
}

fn row_of(image: u32, y: u32, x: u32) -> u32 {
  if (y >= params.image_h || x >= params.image_w) { return params.pad_row; }
  return (image * params.image_h + y) * params.image_w + x;
}
