// A row's elements one at a time, for rows of any length. elements_vec4.wgsl has the same names for
// rows that divide into fours.
alias Elements = f32;
const WIDTH: u32 = 1;

fn total(v: Elements) -> f32 { return v; }

fn largest(v: Elements) -> f32 { return v; }

fn inside(v: Elements, first: u32, n: u32, otherwise: f32) -> Elements {
  return select(otherwise, v, first < n);
}
