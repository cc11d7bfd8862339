import { assert, assertAlmostEquals } from "@std/assert";
import { largestSingularTriplets } from "../../lib/adapters/svd.ts";
import { Random } from "../../lib/random.ts";

/** U diag(values) Vᵀ with random orthonormal U [m, k] and V [n, k]. */
function matrixOf(values: readonly number[], m: number, n: number): Float64Array {
  const random = new Random(`${m} ${n}`);
  const orthonormal = (length: number) => {
    const columns: number[][] = [];
    for (let i = 0; i < values.length; i++) {
      let column = Array.from({ length }, () => random.normal());
      for (let pass = 0; pass < 2; pass++) {
        for (const other of columns) {
          const share = column.reduce((sum, value, k) => sum + value * other[k], 0);
          column = column.map((value, k) => value - share * other[k]);
        }
      }
      const size = Math.hypot(...column);
      columns.push(column.map((value) => value / size));
    }
    return columns;
  };
  const [u, v] = [orthonormal(m), orthonormal(n)];
  const matrix = new Float64Array(m * n);
  values.forEach((value, k) => {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) matrix[i * n + j] += value * u[k][i] * v[k][j];
    }
  });
  return matrix;
}

const cases: [values: number[], m: number, n: number, r: number][] = [
  [[3], 1, 1, 1],
  [[5, 4, 3, 2, 1], 9, 5, 2],
  [[5, 4, 3, 2, 1], 5, 9, 5],
  [[2, 2, 2, 1, 1], 8, 8, 3],
  [[7, 1, 0, 0], 6, 4, 4],
  [Array.from({ length: 90 }, (_, i) => 1 / (1 + 0.02 * i)), 120, 90, 4],
];

for (const [values, m, n, r] of cases) {
  Deno.test(`the ${r} largest of ${values.length} singular values of a ${m} x ${n} matrix are found`, () => {
    const matrix = matrixOf(values, m, n);
    const found = largestSingularTriplets(matrix, { m, n, r, random: new Random(0) });
    assert(found.values.length === Math.min(r, m, n));
    for (const [k, value] of found.values.entries()) {
      assertAlmostEquals(value, values[k] ?? 0, 1e-9);
      if (value < 1e-9) continue;
      for (let i = 0; i < m; i++) {
        let image = 0;
        for (let j = 0; j < n; j++) image += matrix[i * n + j] * found.right[k][j];
        assertAlmostEquals(image, value * found.left[k][i], 1e-7);
      }
      for (let other = 0; other <= k; other++) {
        const product = found.right[k].reduce((sum, x, j) => sum + x * found.right[other][j], 0);
        assertAlmostEquals(product, other === k ? 1 : 0, 1e-10);
      }
    }
  });
}
