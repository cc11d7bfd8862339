// Sums of squares: out[offset + j] = the sum of x^2 over the vectors j, j + lanes, ... of x. All gradients write into
// one array, which is then summed.
//
// x [count], filled up to a whole number of vec4 -> out [lanes] from `offset` on

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.lanes) { return; }
  var sum = vec4<f32>();
  for (var i = id.x; 4 * i < params.count; i += params.lanes) {
    // The last vector may be filled up with numbers that are not part of x.
    let inside = 4 * i + vec4<u32>(0, 1, 2, 3) < vec4<u32>(params.count);
    let v = select(vec4<f32>(), load_x(i), inside);
    sum += v * v;
  }
  out[params.offset + id.x] = dot(sum, vec4<f32>(1.0));
}
