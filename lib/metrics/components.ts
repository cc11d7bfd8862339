import type { MaskGrid } from "./surface_distance.ts";

/** Each element's component: 0 outside the mask, else a number from 1 to `count`. */
export interface Components {
  /** One number an element. */
  readonly labels: Int32Array;
  /** Number of components. */
  readonly count: number;
}

/**
 * 26-connected components of a mask (8-connected ones of a slice): runs along x are joined with those of
 * the rows before them (union-find), then numbered in the order of their first elements.
 */
export function components(mask: Uint8Array, [nx, ny, nz]: MaskGrid["shape"]): Components {
  const runs: { start: number; end: number; parent: number }[] = [];
  const rootOf = (run: number) => {
    while (runs[run].parent !== run) run = runs[run].parent = runs[runs[run].parent].parent;
    return run;
  };
  // The first run of each row; runs of the row end where those of the next begin.
  const rows = new Int32Array(ny * nz + 1);
  for (let row = 0; row < ny * nz; row++) {
    rows[row] = runs.length;
    const y = row % ny;
    const before = [row - 1, row - ny - 1, row - ny, row - ny + 1].filter((other, k) =>
      other >= 0 && (k === 2 || (k === 3 ? y < ny - 1 : y > 0))
    );
    for (let x = 0; x < nx; x++) {
      if (mask[row * nx + x] === 0) continue;
      const start = x;
      while (x < nx && mask[row * nx + x] !== 0) x++;
      const own = runs.push({ start, end: x, parent: runs.length }) - 1;
      for (const other of before) {
        for (let run = rows[other]; run < rows[other + 1]; run++) {
          if (runs[run].start <= x && runs[run].end >= start) {
            const [a, b] = [rootOf(run), rootOf(own)];
            runs[Math.max(a, b)].parent = Math.min(a, b);
          }
        }
      }
    }
    rows[row + 1] = runs.length;
  }
  const labels = new Int32Array(mask.length);
  const numbers = new Int32Array(runs.length);
  let count = 0;
  for (let row = 0; row < ny * nz; row++) {
    for (let run = rows[row]; run < rows[row + 1]; run++) {
      const root = rootOf(run);
      numbers[root] ||= ++count;
      labels.fill(numbers[root], row * nx + runs[run].start, row * nx + runs[run].end);
    }
  }
  return { labels, count };
}
