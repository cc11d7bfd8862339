// Channels 4 quad .. 4 quad + 3 of a head that starts at `at`, zero beyond the last one: operands of products, rounded
// as such, and the output. channels_vec4.wgsl has the same functions for heads whose channels divide into fours.

fn q_channels(at: u32, quad: u32) -> vec4<f32> {
  let i = at + 4 * quad;
  return inside(quad, rounded(vec4<f32>(load_q(i), load_q(i + 1), load_q(i + 2), load_q(i + 3))));
}

fn k_channels(at: u32, quad: u32) -> vec4<f32> {
  let i = at + 4 * quad;
  return inside(quad, rounded(vec4<f32>(load_k(i), load_k(i + 1), load_k(i + 2), load_k(i + 3))));
}

fn v_channels(at: u32, quad: u32) -> vec4<f32> {
  let i = at + 4 * quad;
  return inside(quad, rounded(vec4<f32>(load_v(i), load_v(i + 1), load_v(i + 2), load_v(i + 3))));
}

fn out_channels(at: u32, quad: u32) -> vec4<f32> {
  let i = at + 4 * quad;
  return inside(quad, vec4<f32>(load_out(i), load_out(i + 1), load_out(i + 2), load_out(i + 3)));
}

fn dout_channels(at: u32, quad: u32) -> vec4<f32> {
  let i = at + 4 * quad;
  return inside(quad, rounded(vec4<f32>(load_dout(i), load_dout(i + 1), load_dout(i + 2), load_dout(i + 3))));
}

fn inside(quad: u32, x: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(), x, 4 * quad + vec4<u32>(0, 1, 2, 3) < vec4<u32>(DEPTH));
}

fn set_out(at: u32, quad: u32, x: vec4<f32>) {
  for (var c = 0u; c < min(DEPTH - 4 * quad, 4u); c++) { store_out(at + 4 * quad + c, x[c]); }
}

fn set_dq(at: u32, quad: u32, x: vec4<f32>) {
  for (var c = 0u; c < min(DEPTH - 4 * quad, 4u); c++) { store_dq(at + 4 * quad + c, x[c]); }
}

fn set_dk(at: u32, quad: u32, x: vec4<f32>) {
  for (var c = 0u; c < min(DEPTH - 4 * quad, 4u); c++) { store_dk(at + 4 * quad + c, x[c]); }
}

fn set_dv(at: u32, quad: u32, x: vec4<f32>) {
  for (var c = 0u; c < min(DEPTH - 4 * quad, 4u); c++) { store_dv(at + 4 * quad + c, x[c]); }
}
