// f32 to f16, four elements an invocation. pack2x16float is core WGSL: no feature of the adapter is needed. It may
// round either way (cutting off would make every activation smaller), so rounding to the nearest half, ties to
// even, comes first, on the bits; beyond the largest half it promises nothing, so larger values are held there.
//
// x [4 count4] -> out [4 count4], two to a word

const LARGEST = vec4<f32>(65504);

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let bits = bitcast<vec4<u32>>(clamp(x[i], -LARGEST, LARGEST));
  let nearest = bits + 0xfffu + ((bits >> vec4<u32>(13)) & vec4<u32>(1)); // 13 bits will be cut off
  let v = bitcast<vec4<f32>>(nearest & vec4<u32>(0xffffe000));
  out[i] = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
}
