// Channels 4 quad .. 4 quad + 3 of a head that starts at `at`, for heads whose channels divide into fours: operands of
// products, rounded as such, and the output. channels_scalar.wgsl has the same functions for the others.

fn q_channels(at: u32, quad: u32) -> vec4<f32> { return rounded(load_q(at + quad)); }
fn k_channels(at: u32, quad: u32) -> vec4<f32> { return rounded(load_k(at + quad)); }
fn v_channels(at: u32, quad: u32) -> vec4<f32> { return rounded(load_v(at + quad)); }
fn out_channels(at: u32, quad: u32) -> vec4<f32> { return load_out(at + quad); }
fn dout_channels(at: u32, quad: u32) -> vec4<f32> { return rounded(load_dout(at + quad)); }

fn set_out(at: u32, quad: u32, x: vec4<f32>) { store_out(at + quad, x); }
fn set_dq(at: u32, quad: u32, x: vec4<f32>) { store_dq(at + quad, x); }
fn set_dk(at: u32, quad: u32, x: vec4<f32>) { store_dk(at + quad, x); }
fn set_dv(at: u32, quad: u32, x: vec4<f32>) { store_dv(at + quad, x); }
