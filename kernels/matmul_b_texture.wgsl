// B staged in a texture 2048 texels wide (lib/gpu/staging.ts), four f32 a texel.
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>;

fn b_at(i: u32) -> vec4<f32> { return textureLoad(b, vec2<u32>(i & 2047, i >> 11)); }
