// Elements one at a time, for any number of neighbours. element_vec4.wgsl has the same names for numbers
// that divide into fours.
alias Element = f32;
const WIDTH: u32 = 1;

fn total(v: Element) -> f32 { return v; }

fn largest(v: Element) -> f32 { return v; }

fn first(v: Element) -> f32 { return v; }

// As much of a vector as an Element holds.
fn element_of(v: vec4<f32>) -> Element { return v.x; }
