// Copies a buffer by vec4: the bandwidth of memory, as the ceiling of kernels that move rather than compute.
//
// x [4 count] -> out [4 count]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i < params.count) { out[i] = x[i]; }
}
