// a += scale b, elementwise over equal shapes; with LERP a += scale (b - a).
//
// a and b [4 count4]

override LERP: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups);
  if (i >= params.count4) { return; }
  let before = load_a(i);
  var b = load_b(i);
  if (LERP) { b -= before; }
  store_a(i, before + params.scale * b);
}
