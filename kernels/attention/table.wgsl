// Gradient with respect to a table of biases: that of the scores, summed over all windows. An
// invocation a head, query and key; scores are made again. For training the table itself, which is rare.
//
// q, k, v, dout, bias and `rows` -> dbias [heads, N, N], N tokens in a window

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  let n = params.size_h * params.size_w;
  if (i >= params.heads * n * n) { return; }
  let head = i / (n * n);
  let query = i / n % n;
  let key = i % n;
  let bias_of_pair = load_bias(i);
  let windows = params.windows_y * params.windows_x;
  var total = 0.0;
  for (var window = 0u; window < params.batch * windows; window++) {
    let image = window / windows;
    let top = window % windows / params.windows_x * params.size_h;
    let left = window % params.windows_x * params.size_w;
    let query_row = row_of(image, top + query / params.size_w, left + query % params.size_w);
    if (query_row == params.pad_row) { continue; }
    let key_row = row_of(image, top + key / params.size_w, left + key % params.size_w);
    let q_at = q_start(head, query_row);
    let k_at = k_start(head, key_row);
    let v_at = v_start(head, key_row);
    let out_at = out_start(head, query_row);
    var score = 0.0;
    var dp = 0.0;
    for (var j = 0u; j < QUADS; j++) {
      score += dot(q_channels(q_at, j), k_channels(k_at, j));
      dp += dot(dout_channels(out_at, j), v_channels(v_at, j));
    }
    let at = head * params.rows + query_row;
    let delta = load_rows(at + params.heads * params.rows);
    total += exp(params.scale * score + bias_of_pair - load_rows(at)) * (dp - delta);
  }
  dbias[i] = total;
}

fn row_of(image: u32, y: u32, x: u32) -> u32 {
  if (y >= params.image_h || x >= params.image_w) { return params.pad_row; }
  return (image * params.image_h + y) * params.image_w + x;
}
