// Elements one at a time, for any number of neighbours. element_vec4.wgsl has the same names for those
// that divide into fours.
alias Element = f32;
const WIDTH: u32 = 1;

fn total(v: Element) -> f32 { return v; }

fn largest(v: Element) -> f32 { return v; }
