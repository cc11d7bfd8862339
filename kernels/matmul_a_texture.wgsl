// A staged in a texture 2048 texels wide (lib/gpu/staging.ts), four f32 a texel.
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;

fn a_at(i: u32) -> vec4<f32> { return textureLoad(a, vec2<u32>(i & 2047, i >> 11)); }
