// What is added to the scores of four pairs of query and key.
@group(0) @binding($binding) var<storage, read> bias: array<f32>;

struct Pairs { q_row: vec4<u32>, q_y: vec4<u32>, q_x: vec4<u32>, k_y: vec4<u32>, k_x: vec4<u32> }

fn bias_of(head: u32, pairs: Pairs) -> vec4<f32> {
  if (BIAS == TABLE) {
    let n = params.size_h * params.size_w;
    let query = head * n + pairs.q_y * params.size_w + pairs.q_x;
    return four_of_bias(query * n + pairs.k_y * params.size_w + pairs.k_x);
  }
  if (BIAS == RELATIVE) {
    return relative_h(head, pairs.q_row, pairs.q_y, pairs.k_y) + relative_w(head, pairs.q_row, pairs.q_x, pairs.k_x);
  }
  return vec4<f32>();
}

fn relative_h(head: u32, q_row: vec4<u32>, q_y: vec4<u32>, k_y: vec4<u32>) -> vec4<f32> {
  return four_of_bias(relative_h_at(head, q_row, q_y, k_y));
}

fn relative_w(head: u32, q_row: vec4<u32>, q_x: vec4<u32>, k_x: vec4<u32>) -> vec4<f32> {
  return four_of_bias(relative_w_at(head, q_row, q_x, k_x));
}

fn relative_h_at(head: u32, q_row: vec4<u32>, q_y: vec4<u32>, k_y: vec4<u32>) -> vec4<u32> {
  return (q_row * params.heads + head) * params.rel_row + params.size_h - 1 + q_y - k_y;
}

fn relative_w_at(head: u32, q_row: vec4<u32>, q_x: vec4<u32>, k_x: vec4<u32>) -> vec4<u32> {
  return (q_row * params.heads + head) * params.rel_row + params.rel_w + params.size_w - 1 + q_x - k_x;
}

fn four_of_bias(at: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
}
