// norm = sqrt(squares), and the factor `scale` that brings gradients of that norm within max_norm, as
// torch.nn.utils.clip_grad_norm_ computes it.
//
// squares [1] -> norm and scale [1]

@compute @workgroup_size(1)
fn main() {
  let total = sqrt(squares[0]);
  norm[0] = total;
  scale[0] = min(1.0, params.max_norm / (total + 1e-6));
}
