//: vec4
@group(0) @binding($binding) var<storage, $access> $name: array<vec4<f32>>;

fn load_$name(at: u32, quad: u32) -> vec4<f32> { return $name[at + quad]; }
//: scalar
@group(0) @binding($binding) var<storage, $access> $name: array<f32>;

fn load_$name(at: u32, quad: u32) -> vec4<f32> {
  let i = at + 4 * quad;
  var x = vec4<f32>($name[i], 0.0, 0.0, 0.0);
  if (4 * quad + 1 < DEPTH) { x.y = $name[i + 1]; }
  if (4 * quad + 2 < DEPTH) { x.z = $name[i + 2]; }
  if (4 * quad + 3 < DEPTH) { x.w = $name[i + 3]; }
  return x;
}
//: vec4 read_write

fn store_$name(at: u32, quad: u32, x: vec4<f32>) { $name[at + quad] = x; }
//: scalar read_write

fn store_$name(at: u32, quad: u32, x: vec4<f32>) {
  let i = at + 4 * quad;
  $name[i] = x.x;
  if (4 * quad + 1 < DEPTH) { $name[i + 1] = x.y; }
  if (4 * quad + 2 < DEPTH) { $name[i + 2] = x.z; }
  if (4 * quad + 3 < DEPTH) { $name[i + 3] = x.w; }
}
