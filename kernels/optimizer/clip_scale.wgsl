// norm = sqrt(squares) and the factor that brings gradients of that norm within max_norm, as
// torch.nn.utils.clip_grad_norm_ computes it.
struct Params { max_norm: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(1)
fn main() {
  let total = sqrt(squares[0]);
  norm[0] = total;
  scale[0] = min(1.0, params.max_norm / (total + 1e-6));
}
