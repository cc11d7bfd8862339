// Common to the kernels whose workgroups own keys.

override TO_KEY: bool = true;
override TO_VALUE: bool = true;
override FUSED: bool = true; // dk and dv lie in one buffer, that of dk

// The bias of four queries and the keys that a lane owns: columns are queries.
fn bias_from(head: u32, own: Tokens, queries: Tokens) -> mat4x4<f32> {
  return mat4x4<f32>(
    bias_of_query(head, own, queries.row[0], queries.y[0], queries.x[0]),
    bias_of_query(head, own, queries.row[1], queries.y[1], queries.x[1]),
    bias_of_query(head, own, queries.row[2], queries.y[2], queries.x[2]),
    bias_of_query(head, own, queries.row[3], queries.y[3], queries.x[3]),
  );
}

fn bias_of_query(head: u32, own: Tokens, row: u32, y: u32, x: u32) -> vec4<f32> {
  if (BIAS != RELATIVE) {
    return bias_of(head, Pairs(vec4<u32>(row), vec4<u32>(y), vec4<u32>(x), own.y, own.x));
  }
  // A block of own keys has four columns of one line, or two of two.
  let first = (row * params.heads + head) * params.rel_row;
  let down_at = first + params.size_h - 1 + y;
  let across_at = first + params.rel_w + params.size_w - 1 + x;
  if (COLUMNS == 4) {
    let across = across_at - own.x;
    return load_bias(down_at - own.y.x) + four_of_bias(across);
  }
  let down = vec2<f32>(load_bias(down_at - own.y.x), load_bias(down_at - own.y.z));
  let across = vec2<f32>(load_bias(across_at - own.x.x), load_bias(across_at - own.x.y));
  return down.xxyy + across.xyxy;
}
