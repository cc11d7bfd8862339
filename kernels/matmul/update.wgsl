// An update of low rank on top of the product, before C is stored: + update_alpha H opB(U), which
// is LoRA's s (x Aᵀ) Bᵀ beside x Wᵀ, or g A beside dy W. H is [m, update_k], U is [n, update_k] with
// TRANS_B and [update_k, n] without; both are packed, and update_k and n are multiples of 4. With U = 0 the
// sums keep every bit.
const UPDATE: bool = true;

@group(0) @binding(5) var<storage, read> update_a: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> update_b: array<vec4<f32>>;

// Four rows of update_alpha H, each a vector of the elements k..k+3; zero from update_k on.
fn load_update_a(m: u32, k: u32) -> mat4x4<f32> {
  let inside = k < params.update_k;
  let rows = min(m + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.m - 1)) * params.update_k;
  let i = (rows + select(0, k, inside)) >> vec4<u32>(2);
  return select(0.0, params.update_alpha, inside) *
    mat4x4<f32>(update_a[i.x], update_a[i.y], update_a[i.z], update_a[i.w]);
}

// Four columns of opB(U), each a vector of the elements k..k+3; the first ones again from update_k on.
fn load_update_b(n: u32, k: u32) -> mat4x4<f32> {
  let depth = select(0, k, k < params.update_k);
  if (TRANS_B) {
    let columns = min(n + vec4<u32>(0, 1, 2, 3), vec4<u32>(params.n - 1)) * params.update_k;
    let i = (columns + depth) >> vec4<u32>(2);
    return mat4x4<f32>(update_b[i.x], update_b[i.y], update_b[i.z], update_b[i.w]);
  }
  let i = (min(n, params.n - 4) + (depth + vec4<u32>(0, 1, 2, 3)) * params.n) >> vec4<u32>(2);
  return transpose(mat4x4<f32>(update_b[i.x], update_b[i.y], update_b[i.z], update_b[i.w]));
}
