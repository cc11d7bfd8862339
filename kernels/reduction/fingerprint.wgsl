// Hash of the bits of each row, below 2^24 so that an f32 holds it. It is a sum, so that the order of the lanes does
// not matter; a workgroup a row.
//
// x [rows, length], any bits -> out [rows]

var<workgroup> total: atomic<u32>;

// MurmurHash3's finaliser: every bit of the input changes half of those of the output.
fn mix(bits: u32) -> u32 {
  var h = bits;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var hash = 0u;
  for (var i = lane; i < params.length; i += 64u) {
    hash += mix(x[group.x * params.length + i] + i * 0x9e3779b9u);
  }
  atomicAdd(&total, hash);
  workgroupBarrier();
  if (lane == 0u) { out[group.x] = f32(atomicLoad(&total) & 0xffffffu); }
}
