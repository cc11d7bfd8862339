import type { Reference } from "../check.ts";

/** Reads channel c of head h at row i of batch element b. */
type Read = (b: number, h: number, i: number, c: number) => number;

interface Problem {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  readonly scale: number;
}

/** softmax(scale q kᵀ + bias) v, row by row. */
function attend64(
  problem: Problem,
  bands: { q: Read; k: Read; v: Read; bias: (h: number, i: number, j: number) => number },
): Reference {
  const { batch, heads, queries, keys, depth, scale } = problem;
  const data = new Float64Array(batch * queries * heads * depth);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        const p = Array.from({ length: keys }, (_, j) => {
          let dot = 0;
          for (let c = 0; c < depth; c++) dot += bands.q(b, h, i, c) * bands.k(b, h, j, c);
          return Math.exp(scale * dot + bands.bias(h, i, j));
        });
        const total = p.reduce((a, b) => a + b);
        for (let c = 0; c < depth; c++) {
          let out = 0;
          for (let j = 0; j < keys; j++) out += p[j] / total * bands.v(b, h, j, c);
          data[((b * queries + i) * heads + h) * depth + c] = out;
        }
      }
    }
  }
  return { shape: [batch, queries, heads * depth], data };
}

const noBias = () => 0;

/** Multi-head attention over separate queries, keys and values, each [B, N, heads d]. */
export function attention64(
  [q, k, v]: readonly Reference[],
  { heads }: { readonly heads: number },
): Reference {
  const [batch, queries, width] = q.shape;
  const depth = width / heads;
  const read = ({ shape, data }: Reference): Read => (b, h, i, c) =>
    data[(b * shape[1] + i) * width + h * depth + c];
  return attend64(
    { batch, heads, queries, keys: k.shape[1], depth, scale: 1 / Math.sqrt(depth) },
    { q: read(q), k: read(k), v: read(v), bias: noBias },
  );
}

/** Multi-head self-attention over a fused projection [B, N, 3 heads d] in either layout. */
export function qkvAttention64(
  qkv: Reference,
  { heads, layout, bias, scale }: {
    readonly heads: number;
    readonly layout: "per-head" | "thirds";
    readonly bias?: Reference;
    readonly scale: number;
  },
): Reference {
  const [batch, n, channels] = qkv.shape;
  const depth = channels / heads / 3;
  const read = (band: number): Read => (b, h, i, c) => {
    const at = layout === "per-head" ? h * 3 + band : band * heads + h;
    return qkv.data[((b * n + i) * 3 * heads + at) * depth + c];
  };
  return attend64({ batch, heads, queries: n, keys: n, depth, scale }, {
    q: read(0),
    k: read(1),
    v: read(2),
    bias: bias ? (h, i, j) => bias.data[(h * n + i) * n + j] : noBias,
  });
}
