// Adds to the gradients with respect to the products of own queries with relative positions.
@group(0) @binding($binding) var<storage, read_write> drelative: array<f32>;

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
