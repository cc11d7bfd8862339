// A in its buffer, four f32 at a time.
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;

fn a_at(i: u32) -> vec4<f32> { return a[i]; }
