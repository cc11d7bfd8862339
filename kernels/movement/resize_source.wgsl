// Place in the input, in pixels, of the centre of output pixel o; before the first centre, on it.
fn source(o: u32, scale: f32) -> f32 {
  return max(scale * (f32(o) + 0.5) - 0.5, 0.0);
}
