// Place among the inputs of the centre of output o; before the first centre, on it.
fn source(o: u32) -> f32 {
  return max(params.scale * (f32(o) + 0.5) - 0.5, 0.0);
}
