/**
 * The Euclidean distance, in voxels, from every voxel to the nearest one that is set: exact, by lower
 * envelopes of parabolas along each axis in turn (Felzenszwalb and Huttenlocher, "Distance transforms
 * of sampled functions", 2012). Infinite if no voxel is set.
 *
 * @param set 0 or 1 for each voxel, x fastest.
 */
export function distanceTo(
  set: Uint8Array,
  shape: readonly [number, number, number],
): Float32Array {
  const [nx, ny, nz] = shape;
  const squared = new Float32Array(set.length);
  for (let i = 0; i < set.length; i++) squared[i] = set[i] ? 0 : Infinity;

  const longest = Math.max(nx, ny, nz);
  const f = new Float64Array(longest);
  const apex = new Int32Array(longest); // where the parabolas of the envelope stand
  const from = new Float64Array(longest + 1); // where each takes over from the one before

  const sweep = (start: number, stride: number, n: number) => {
    let parabolas = 0;
    for (let q = 0; q < n; q++) {
      f[q] = squared[start + q * stride];
      if (f[q] === Infinity) continue;
      let crossing = -Infinity;
      while (parabolas > 0) {
        const v = apex[parabolas - 1];
        crossing = (f[q] + q * q - f[v] - v * v) / (2 * (q - v));
        if (crossing > from[parabolas - 1]) break;
        parabolas--;
      }
      from[parabolas] = parabolas === 0 ? -Infinity : crossing;
      apex[parabolas++] = q;
    }
    if (parabolas === 0) return;
    for (let q = 0, p = 0; q < n; q++) {
      while (p + 1 < parabolas && from[p + 1] < q) p++;
      const v = apex[p];
      squared[start + q * stride] = (q - v) * (q - v) + f[v];
    }
  };

  for (let row = 0; row < ny * nz; row++) sweep(row * nx, 1, nx);
  for (let k = 0; k < nz; k++) for (let i = 0; i < nx; i++) sweep(k * nx * ny + i, nx, ny);
  for (let i = 0; i < nx * ny; i++) sweep(i, nx * ny, nz);
  return squared.map(Math.sqrt);
}
