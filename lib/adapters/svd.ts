import type { Random } from "../random.ts";

/** The largest singular values of a matrix with their vectors, in float64. */
export interface SingularTriplets {
  /** [r], falling. */
  readonly values: Float64Array;
  /** [r] left vectors of m elements each. */
  readonly left: readonly Float64Array[];
  /** [r] right vectors of n elements each. */
  readonly right: readonly Float64Array[];
}

/** Columns that a block brings beyond those asked for: neighbours of the last one split off sooner. */
const OVERSAMPLING = 8;

/** Relative size of the residuals at which the vectors count as found. */
const TOLERANCE = 1e-8;

/**
 * The r largest singular triplets of an m x n matrix: W v = s u, Wᵀ u = s v.
 *
 * A randomised block Krylov space is grown until the triplets' residuals vanish, at the latest until
 * it is the whole space; within it one-sided Jacobi rotations decompose exactly.
 *
 * Source: Musco and Musco 2015, "Randomized Block Krylov Methods for Stronger and Faster Approximate
 * Singular Value Decomposition"; Hestenes 1958 for the rotations.
 *
 * @param matrix Row-major, m * n elements.
 * @param options.random Draws the first block; the result depends on it in the last bits alone.
 */
export function largestSingularTriplets(
  matrix: ArrayLike<number>,
  options: { m: number; n: number; r: number; random: Random },
): SingularTriplets {
  const { m, n, random } = options;
  const r = Math.min(options.r, m, n);
  const block = Math.min(n, r + OVERSAMPLING);

  /** W q */
  const forward = (q: Float64Array): Float64Array => {
    const y = new Float64Array(m);
    for (let i = 0; i < m; i++) {
      let total = 0;
      for (let j = 0, at = i * n; j < n; j++) total += matrix[at + j] * q[j];
      y[i] = total;
    }
    return y;
  };
  /** Wᵀ y */
  const backward = (y: Float64Array): Float64Array => {
    const q = new Float64Array(n);
    for (let i = 0; i < m; i++) {
      const factor = y[i];
      for (let j = 0, at = i * n; j < n; j++) q[j] += factor * matrix[at + j];
    }
    return q;
  };

  const basis: Float64Array[] = [];
  const images: Float64Array[] = [];
  /** Adds what is new in some directions to the basis; returns how much that was. */
  const extend = (directions: readonly Float64Array[]): number => {
    const before = basis.length;
    for (const direction of directions) {
      if (basis.length === n) break;
      const q = orthogonalised(direction, basis);
      if (q) {
        basis.push(q);
        images.push(forward(q));
      }
    }
    return basis.length - before;
  };
  const fresh = () =>
    Array.from({ length: block }, () => Float64Array.from({ length: n }, () => random.normal()));

  extend(fresh());
  // Jacobi's cost grows with the square of the basis: decompose each time it has doubled.
  for (let checkAt = 4 * block;; checkAt *= 2) {
    while (basis.length < Math.min(checkAt, n)) {
      const newest = images.slice(-block);
      if (extend(newest.map(backward)) === 0) extend(fresh());
    }
    const triplets = decompose(images, basis, r);
    if (basis.length === n || residual(triplets, backward) <= TOLERANCE) return triplets;
  }
}

/** A direction without its part in an orthonormal basis, at length 1; null if nothing is left. */
function orthogonalised(
  direction: Float64Array,
  basis: readonly Float64Array[],
): Float64Array | null {
  const q = direction.slice();
  let length = Math.sqrt(dot(q, q));
  if (length === 0) return null;
  q.forEach((value, i) => q[i] = value / length);
  for (let pass = 0; pass < 2; pass++) { // once leaves the rounding of what was taken away
    for (const other of basis) {
      const share = dot(q, other);
      for (let i = 0; i < q.length; i++) q[i] -= share * other[i];
    }
    length = Math.sqrt(dot(q, q));
    if (length < 1e-12) return null;
    for (let i = 0; i < q.length; i++) q[i] /= length;
  }
  return q;
}

/**
 * Singular triplets of W from W Q = `images` and the orthonormal Q = `basis`: plane rotations V make
 * the columns of R orthogonal, where W Q = P R with P orthonormal; so Q V are the right vectors and
 * W Q V the left ones, as long as their values.
 */
function decompose(
  images: readonly Float64Array[],
  basis: readonly Float64Array[],
  r: number,
): SingularTriplets {
  const columns = triangularFactor(images);
  const rotations = columns.map((_, i) => {
    const unit = new Float64Array(columns.length);
    unit[i] = 1;
    return unit;
  });
  for (let sweep = 0, rotated = true; rotated && sweep < 60; sweep++) {
    rotated = false;
    for (let i = 0; i < columns.length; i++) {
      for (let j = i + 1; j < columns.length; j++) {
        const product = dot(columns[i], columns[j]);
        const [a, b] = [dot(columns[i], columns[i]), dot(columns[j], columns[j])];
        if (Math.abs(product) <= 1e-14 * Math.sqrt(a * b)) continue;
        rotated = true;
        const zeta = (b - a) / (2 * product);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        rotate(columns[i], columns[j], cosine, cosine * tangent);
        rotate(rotations[i], rotations[j], cosine, cosine * tangent);
      }
    }
  }
  const order = columns.map((column, i) => ({ i, value: Math.sqrt(dot(column, column)) }))
    .sort((a, b) => b.value - a.value).slice(0, r);
  return {
    values: Float64Array.from(order, ({ value }) => value),
    left: order.map(({ i, value }) => {
      const u = combination(images, rotations[i]);
      return u.map((element) => value > 0 ? element / value : 0);
    }),
    right: order.map(({ i }) => combination(basis, rotations[i])),
  };
}

/** The columns of R in `vectors` = P R, P orthonormal (modified Gram-Schmidt). */
function triangularFactor(vectors: readonly Float64Array[]): Float64Array[] {
  const p: Float64Array[] = [];
  return vectors.map((vector, j) => {
    const rest = vector.slice();
    const column = new Float64Array(vectors.length);
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < j; i++) {
        const share = dot(rest, p[i]);
        column[i] += share;
        for (let k = 0; k < rest.length; k++) rest[k] -= share * p[i][k];
      }
    }
    const length = Math.sqrt(dot(rest, rest));
    column[j] = length;
    p.push(length > 0 ? rest.map((element) => element / length) : rest);
    return column;
  });
}

/** The sum of vectors times their coefficients. */
function combination(vectors: readonly Float64Array[], coefficients: Float64Array): Float64Array {
  const sum = new Float64Array(vectors[0].length);
  for (const [i, vector] of vectors.entries()) {
    const factor = coefficients[i];
    for (let k = 0; k < sum.length; k++) sum[k] += factor * vector[k];
  }
  return sum;
}

/** The largest |Wᵀ u - s v| over the triplets, relative to the largest value. */
function residual(
  { values, left, right }: SingularTriplets,
  backward: (y: Float64Array) => Float64Array,
): number {
  let largest = 0;
  for (const [i, value] of values.entries()) {
    const difference = backward(left[i]).map((element, j) => element - value * right[i][j]);
    largest = Math.max(largest, Math.sqrt(dot(difference, difference)));
  }
  return values[0] > 0 ? largest / values[0] : 0;
}

function rotate(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < a.length; i++) {
    const x = a[i];
    const y = b[i];
    a[i] = cosine * x - sine * y;
    b[i] = sine * x + cosine * y;
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}
