import type { ImageChanges } from "../../../lib/tensor/ops/augment.ts";
import type { Reference } from "../check.ts";

/** Value of the uniform cubic B-spline at a distance from its centre, in knots: its definition. */
function spline(distance: number): number {
  const d = Math.abs(distance);
  if (d >= 2) return 0;
  return d >= 1 ? (2 - d) ** 3 / 6 : 2 / 3 - d ** 2 + d ** 3 / 2;
}

/** The Legendre polynomial P_n in powers of x, up to the fifth. */
function legendre(n: number, x: number): number {
  return [
    1,
    x,
    (3 * x ** 2 - 1) / 2,
    (5 * x ** 3 - 3 * x) / 2,
    (35 * x ** 4 - 30 * x ** 2 + 3) / 8,
    (63 * x ** 5 - 70 * x ** 3 + 15 * x) / 8,
  ][n];
}

/** The hash of one word. */
function pcg(value: number): number {
  const state = (Math.imul(value, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

/** The standard normal number of a pixel: each four of a row share four words, two to each pair. */
export function normal64([x, y]: readonly [number, number], width: number, seed: number): number {
  const four = y * Math.ceil(width / 4) + Math.floor(x / 4);
  const uniform = (word: number) =>
    ((pcg((pcg((4 * four + word) >>> 0) ^ seed) >>> 0) >>> 8) + 0.5) / 2 ** 24;
  const radius = Math.sqrt(-2 * Math.log(uniform(x % 2)));
  const angle = 2 * Math.PI * (uniform(2 + x % 2) - 0.5);
  return radius * (x % 4 < 2 ? Math.cos(angle) : Math.sin(angle));
}

/** Source of a pixel, by a sum over all control points. */
export function sourceOf64(
  x: number,
  y: number,
  warp: NonNullable<ImageChanges["warp"]>,
): [number, number] {
  let [u, v] = [x, y];
  if (warp.displacement) {
    const { spacing, columns, rows, shifts } = warp.displacement;
    for (let j = 0; j < rows; j++) {
      for (let i = 0; i < columns; i++) {
        const weight = spline(x / spacing - (i - 1)) * spline(y / spacing - (j - 1));
        u += weight * shifts[j * columns + i];
        v += weight * shifts[(rows + j) * columns + i];
      }
    }
  }
  const [a, b, c, d, e, f] = warp.matrix;
  return [a * u + b * v + c, d * u + e * v + f];
}

/** The definition of `augmentImage`, pixel by pixel. */
export function augmentImage64(image: Reference, changes: ImageChanges): Reference {
  const [height, width] = image.shape;
  const { warp, gamma, bias, noise } = changes;
  const at = (x: number, y: number) =>
    x >= 0 && y >= 0 && x < width && y < height ? image.data[y * width + x] : 0;
  const data = Float64Array.from(image.data, (plain, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    let value = plain;
    if (warp) {
      const [sx, sy] = sourceOf64(x, y, warp);
      value = 0;
      for (let row = Math.floor(sy); row <= Math.floor(sy) + 1; row++) {
        for (let column = Math.floor(sx); column <= Math.floor(sx) + 1; column++) {
          value += (1 - Math.abs(sx - column)) * (1 - Math.abs(sy - row)) * at(column, row);
        }
      }
    }
    value = 255 * (value / 255) ** gamma;
    if (bias) {
      const [u, v] = [2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1];
      let [logarithm, k] = [0, 0];
      for (let a = 0; a <= bias.order; a++) {
        for (let b = a === 0 ? 1 : 0; a + b <= bias.order; b++) {
          logarithm += bias.coefficients[k++] * legendre(a, u) * legendre(b, v);
        }
      }
      value *= Math.exp(logarithm);
    }
    if (noise) value += noise.deviation * normal64([x, y], width, noise.seed);
    return Math.min(255, Math.max(0, value));
  });
  return { shape: image.shape, data };
}
