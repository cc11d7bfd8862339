// Stores activation(v + residual), the residual laid out as C.
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;

fn epilogue(row: u32, n: u32, v: vec4<f32>) -> vec4<f32> { return activate(v + residual[(row + n) >> 2]); }
