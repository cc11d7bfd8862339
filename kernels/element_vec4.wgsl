// Elements four at a time, where the number of neighbours is a multiple of 4 (or padded to one).
// element_scalar.wgsl has the same names for the others.
alias Element = vec4<f32>;
const WIDTH: u32 = 4;

fn total(v: Element) -> f32 { return dot(v, vec4<f32>(1.0)); }

fn largest(v: Element) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

// v, whose first element is number `first` of its row, with `otherwise` beyond the row's n elements.
fn inside(v: Element, first: u32, n: u32, otherwise: f32) -> Element {
  return select(vec4<f32>(otherwise), v, first + vec4<u32>(0, 1, 2, 3) < vec4<u32>(n));
}
