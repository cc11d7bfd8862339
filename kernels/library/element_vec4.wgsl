// Elements four at a time, for a number of neighbours that is a multiple of 4. element_scalar.wgsl has the
// same names for the others.
alias Element = vec4<f32>;
const WIDTH: u32 = 4;

fn total(v: Element) -> f32 { return dot(v, vec4<f32>(1.0)); }

fn largest(v: Element) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

fn first(v: Element) -> f32 { return v.x; }

fn element_of(v: vec4<f32>) -> Element { return v; }
