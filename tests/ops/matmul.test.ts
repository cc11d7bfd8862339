import { linear, matmul } from "../../lib/tensor/ops/matmul.ts";
import { checkOp, type Reference } from "./check.ts";

/** [batch, m, k] x [batch or 1, k, n] by the definition. */
function multiply(a: Reference, b: Reference, transposeA: boolean, transposeB: boolean): Reference {
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

/** m, n, k and the batch. */
const sizes = [
  { m: 1, n: 1, k: 1, batch: [] },
  { m: 5, n: 7, k: 3, batch: [] },
  { m: 1, n: 9, k: 4, batch: [2] },
  { m: 8, n: 1, k: 8, batch: [] },
  { m: 12, n: 8, k: 16, batch: [2] },
  { m: 9, n: 5, k: 6, batch: [2, 2] },
];

for (const { m, n, k, batch } of sizes) {
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const name = `matmul ${transposeA ? "T" : "N"}${
        transposeB ? "T" : "N"
      } of [${batch}] ${m} x ${k} x ${n}`;
      Deno.test(`${name} and its gradients match float64`, async () => {
        const a = [...batch, ...(transposeA ? [k, m] : [m, k])];
        const b = transposeB ? [n, k] : [k, n];
        for (const shapeB of batch.length > 0 ? [b, [...batch, ...b]] : [b]) {
          await checkOp(name, {
            inputs: [a, shapeB],
            op: (a, b) => matmul(a, b, { transposeA, transposeB }),
            reference: (a, b) => multiply(a, b, transposeA, transposeB),
          });
        }
      });
    }
  }
}

Deno.test("linear with and without bias matches float64, with gradients", async () => {
  const reference = (x: Reference, weight: Reference, bias?: Reference): Reference => {
    const rows = { shape: [x.data.length / weight.shape[1], weight.shape[1]], data: x.data };
    const product = multiply(rows, weight, false, true);
    const data = product.data.map((v, i) => v + (bias ? bias.data[i % weight.shape[0]] : 0));
    return { shape: [...x.shape.slice(0, -1), weight.shape[0]], data };
  };
  for (const [inp, out] of [[5, 3], [16, 8], [1, 1], [33, 17]]) {
    const x = [2, 3, inp];
    await checkOp("linear", { inputs: [x, [out, inp]], op: linear, reference });
    await checkOp("linear", { inputs: [x, [out, inp], [out]], op: linear, reference });
  }
});
