/** A scalar field on voxels of 1 mm, x fastest; coordinates are voxel indices, so also millimetres. */
export interface Grid {
  /** One value a voxel. */
  readonly data: Float32Array;
  /** Voxels along x, y and z. */
  readonly shape: readonly [number, number, number];
}

/** A point or direction: x to the patient's left, y to the back, z up, in millimetres. */
export type Vec3 = readonly [number, number, number];

/** The value at a point by trilinear interpolation; beyond the grid the border is repeated. */
export function sample(grid: Grid, x: number, y: number, z: number): number {
  const [nx, ny, nz] = grid.shape;
  const data = grid.data;
  x = x < 0 ? 0 : x > nx - 1.001 ? nx - 1.001 : x;
  y = y < 0 ? 0 : y > ny - 1.001 ? ny - 1.001 : y;
  z = z < 0 ? 0 : z > nz - 1.001 ? nz - 1.001 : z;
  const i = x | 0, j = y | 0, k = z | 0;
  const fx = x - i, fy = y - j, fz = z - k;
  const a = (k * ny + j) * nx + i, b = a + nx, c = a + nx * ny, d = c + nx;
  const near = (data[a] + fx * (data[a + 1] - data[a])) * (1 - fy) +
    (data[b] + fx * (data[b + 1] - data[b])) * fy;
  const far = (data[c] + fx * (data[c + 1] - data[c])) * (1 - fy) +
    (data[d] + fx * (data[d + 1] - data[d])) * fy;
  return near + fz * (far - near);
}

/** The direction in which a field rises fastest, of length one, from differences over 2 * `step`. */
export function gradientDirection(grid: Grid, [x, y, z]: Vec3, step: number): Vec3 {
  return normalise([
    sample(grid, x + step, y, z) - sample(grid, x - step, y, z),
    sample(grid, x, y + step, z) - sample(grid, x, y - step, z),
    sample(grid, x, y, z + step) - sample(grid, x, y, z - step),
  ]);
}

/** The vector scaled to length one. */
export function normalise(v: Vec3): Vec3 {
  const length = Math.hypot(v[0], v[1], v[2]) || 1;
  return [v[0] / length, v[1] / length, v[2] / length];
}

/** The vector product. */
export function cross(a: Vec3, b: Vec3): Vec3 {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

/** 0 below `low`, 1 above `high`, a cubic in between. */
export function smoothstep(low: number, high: number, x: number): number {
  const t = x <= low ? 0 : x >= high ? 1 : (x - low) / (high - low);
  return t * t * (3 - 2 * t);
}
