// A hash for random numbers by index: PCG-RXS-M-XS (O'Neill 2014). Applied to an index, combined with a
// seed and applied once more, seeds do not give shifted copies of each other.
fn pcg(value: vec4<u32>) -> vec4<u32> {
  let state = value * 747796405u + 2891336453u;
  let word = ((state >> ((state >> vec4<u32>(28)) + 4)) ^ state) * 277803737u;
  return (word >> vec4<u32>(22)) ^ word;
}

