import type { MatmulOptions } from "../../../lib/tensor/ops/matmul.ts";
import type { Reference } from "../check.ts";
import { unary64 } from "./elementwise.ts";

/** [batch, m, k] x [batch or 1, k, n] by the definition. */
export function matmul64(
  [a, b]: readonly Reference[],
  { transposeA = false, transposeB = false }: MatmulOptions,
): Reference {
  const [ra, ca] = a.shape.slice(-2);
  const [rb, cb] = b.shape.slice(-2);
  const [m, k] = transposeA ? [ca, ra] : [ra, ca];
  const n = transposeB ? rb : cb;
  const lead = a.shape.slice(0, -2);
  const batch = lead.reduce((x, y) => x * y, 1);
  const data = new Float64Array(batch * m * n);
  for (let z = 0; z < batch; z++) {
    const offA = z * ra * ca;
    const offB = b.shape.length === 2 ? 0 : z * rb * cb;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let total = 0;
        for (let l = 0; l < k; l++) {
          total += a.data[offA + (transposeA ? l * ca + i : i * ca + l)] *
            b.data[offB + (transposeB ? j * cb + l : l * cb + j)];
        }
        data[(z * m + i) * n + j] = total;
      }
    }
  }
  return { shape: [...lead, m, n], data };
}

/** x Wᵀ + b over the last axis. */
export function linear64(x: Reference, weight: Reference, bias?: Reference): Reference {
  const rows = { shape: [x.data.length / weight.shape[1], weight.shape[1]], data: x.data };
  const product = matmul64([rows, weight], { transposeB: true });
  const data = product.data.map((v, i) => v + (bias ? bias.data[i % weight.shape[0]] : 0));
  return { shape: [...x.shape.slice(0, -1), weight.shape[0]], data };
}

/** gelu(x W₁ᵀ + b₁) W₂ᵀ + b₂ + residual. */
export function perceptron64(
  [x, weight1, bias1, weight2, bias2, residual]: readonly (Reference | undefined)[],
): Reference {
  const z = linear64(x!, weight1!, bias1);
  const y = linear64({ ...z, data: z.data.map(unary64.gelu) }, weight2!, bias2);
  return { ...y, data: y.data.map((v, i) => v + (residual ? residual.data[i] : 0)) };
}

/** x Wᵀ + b + s (x Aᵀ) Bᵀ by the definition. */
export function loraLinear64(scaling: number) {
  return (x: Reference, a: Reference, b: Reference, w: Reference, bias?: Reference): Reference => {
    const [out, inp] = w.shape;
    const rank = a.shape[0];
    const rows = x.data.length / inp;
    const data = new Float64Array(rows * out);
    for (let row = 0; row < rows; row++) {
      for (let o = 0; o < out; o++) {
        let total = bias ? bias.data[o] : 0;
        for (let k = 0; k < inp; k++) total += x.data[row * inp + k] * w.data[o * inp + k];
        for (let r = 0; r < rank; r++) {
          let h = 0;
          for (let k = 0; k < inp; k++) h += x.data[row * inp + k] * a.data[r * inp + k];
          total += scaling * h * b.data[o * rank + r];
        }
        data[row * out + o] = total;
      }
    }
    return { shape: [...x.shape.slice(0, -1), out], data };
  };
}
