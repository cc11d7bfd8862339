// A product without an update: matmul_update.wgsl has the same names.
const UPDATE: bool = false;

fn load_update_a(m: u32, k: u32) -> mat4x4<f32> { return mat4x4<f32>(); }

fn load_update_b(n: u32, k: u32) -> mat4x4<f32> { return mat4x4<f32>(); }
