// dx = f'(x) * dy, four elements an invocation. `x` is f's input, or f's output where f' is simpler
// in terms of that (sigmoid, exp, sqrt).
override OP: u32; // the order of `unaryOps` in elementwise.ts
struct Params { count4: u32, p: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

fn derivative(v: f32) -> f32 {
  if (OP == 0u) { return params.p; }
  if (OP == 1u) { return select(0.0, 1.0, v > 0.0); }
  if (OP == 2u) { return gelu_derivative(v); }
  if (OP == 3u) { return v * (1.0 - v); }
  if (OP == 4u) { return v; }
  if (OP == 5u) { return cos(v); }
  if (OP == 6u) { return -sin(v); }
  if (OP == 7u) { return 0.5 / v; }
  return 1.0;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(id, groups, 64u);
  if (i >= params.count4) { return; }
  let v = x[i];
  dx[i] = dy[i] * vec4(derivative(v.x), derivative(v.y), derivative(v.z), derivative(v.w));
}
