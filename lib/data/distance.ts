/**
 * The squared Euclidean distance from every voxel's centre to the nearest one that is set: exact, by
 * lower envelopes of parabolas along each axis in turn (Felzenszwalb and Huttenlocher, "Distance
 * transforms of sampled functions", 2012). Infinite if no voxel is set.
 *
 * @param set 0 or not for each voxel, x fastest.
 * @param grid.shape Voxels along x, y and z; nz is 1 for a slice.
 * @param grid.spacing Voxel size along each axis; default 1.
 */
export function squaredDistanceTo(
  set: Uint8Array,
  grid: {
    shape: readonly [nx: number, ny: number, nz: number];
    spacing?: readonly [x: number, y: number, z: number];
  },
): Float64Array {
  const { shape: [nx, ny, nz], spacing = [1, 1, 1] } = grid;
  const squared = new Float64Array(set.length);
  for (let i = 0; i < set.length; i++) squared[i] = set[i] ? 0 : Infinity;

  const longest = Math.max(nx, ny, nz);
  const f = new Float64Array(longest);
  const apex = new Int32Array(longest); // where the parabolas of the envelope stand
  const from = new Float64Array(longest + 1); // where each takes over from the one before

  /** One line of n voxels; `unit` is the squared voxel size along it. */
  const sweep = (start: number, stride: number, n: number, unit: number) => {
    let parabolas = 0;
    for (let q = 0; q < n; q++) {
      f[q] = squared[start + q * stride];
      if (f[q] === Infinity) continue;
      let crossing = -Infinity;
      while (parabolas > 0) {
        const v = apex[parabolas - 1];
        crossing = ((f[q] - f[v]) / unit + q * q - v * v) / (2 * (q - v));
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
      squared[start + q * stride] = (q - v) * (q - v) * unit + f[v];
    }
  };

  const [ux, uy, uz] = spacing.map((size) => size * size);
  for (let row = 0; row < ny * nz; row++) sweep(row * nx, 1, nx, ux);
  for (let k = 0; k < nz; k++) for (let i = 0; i < nx; i++) sweep(k * nx * ny + i, nx, ny, uy);
  if (nz > 1) { for (let i = 0; i < nx * ny; i++) sweep(i, nx * ny, nz, uz); }
  return squared;
}
