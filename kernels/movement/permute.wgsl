// Copies a strided view of up to five axes into a contiguous tensor: permutations, repetitions (stride 0) and
// slices (offset).
//
// x with strides s0..s4 from `offset` on -> out [d0, d1, d2, d3, d4], strides, offset, d4 and `count` in Elements

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count) { return; }
  var rest = i;
  let i4 = rest % params.d4; rest /= params.d4;
  let i3 = rest % params.d3; rest /= params.d3;
  let i2 = rest % params.d2; rest /= params.d2;
  let i1 = rest % params.d1;
  let i0 = rest / params.d1;
  out[i] = load_x(params.offset + i0 * params.s0 + i1 * params.s1 + i2 * params.s2 + i3 * params.s3
    + i4 * params.s4);
}
