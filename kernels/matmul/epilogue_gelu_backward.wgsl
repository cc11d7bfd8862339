// Stores v gelu'(kept): the gradient before a GELU from the product that makes the one behind it.
@group(0) @binding(5) var<storage, read> kept: array<vec4<f32>>;

fn epilogue(row: u32, n: u32, v: vec4<f32>) -> vec4<f32> {
  let x = kept[(row + n) >> 2];
  return v * vec4<f32>(gelu_derivative(x.x), gelu_derivative(x.y), gelu_derivative(x.z), gelu_derivative(x.w));
}
