// B in its buffer, four f32 at a time.
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;

fn b_at(i: u32) -> vec4<f32> { return b[i]; }
