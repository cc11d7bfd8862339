// Operands of products in the precision that they are multiplied in: with HALF, a constant of the kernel, rounded to
// halves (IEEE 754 binary16), as tensor cores and subgroup matrices are given them. Two halves have an exact
// product in f32, which is what is summed. `Operand`, a type of the kernel, is what four of them are held in.

// Rounds to the nearest half, ties to even. On the bits, since WGSL lets a conversion round either way and leaves open
// what becomes of values beyond the largest half. Here they become infinite, so that a gradient that overflows is seen,
// and so does NaN.
fn rounded(v: vec4<f32>) -> vec4<f32> {
  if (!HALF) { return v; }
  let bits = bitcast<vec4<u32>>(v);
  let magnitude = bits & vec4<u32>(0x7fffffff);
  let cut = vec4<u32>(13); // bits that a half lacks
  let nearest = (magnitude + 0xfff + ((magnitude >> cut) & vec4<u32>(1))) & vec4<u32>(0xffffe000);
  let held = select(nearest, vec4<u32>(0x7f800000), nearest > vec4<u32>(0x477fe000)); // 65504
  // Below 2^-14 halves lie 2^-24 apart. round() will not do: llvmpipe rounds ties up where a vector is wider than a
  // register.
  let steps = abs(v) * 16777216.0;
  let whole = floor(steps);
  let odd = (vec4<u32>(whole) & vec4<u32>(1)) == vec4<u32>(1);
  let rest = steps - whole;
  let up = (rest > vec4<f32>(0.5)) | ((rest == vec4<f32>(0.5)) & odd);
  let small = bitcast<vec4<u32>>((whole + select(vec4<f32>(), vec4<f32>(1.0), up)) * 5.9604644775390625e-8);
  let half = select(held, small, magnitude < vec4<u32>(0x38800000));
  return bitcast<vec4<f32>>(half | (bits & vec4<u32>(0x80000000)));
}

fn rounded_block(block: mat4x4<f32>) -> mat4x4<f32> {
  if (!HALF) { return block; }
  return mat4x4<f32>(rounded(block[0]), rounded(block[1]), rounded(block[2]), rounded(block[3]));
}
