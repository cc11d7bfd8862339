import { excerpt, InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";
import type { Largest } from "./protocol.ts";

/** Voxel indices along the three axes of a volume. */
export type Voxel = readonly [x: number, y: number, z: number];

/** Sides that the axes of a picture run to. */
const RAS = ["RL", "AP", "SI"];

/**
 * Orientation that a volume which does not say how it lies is drawn in: in radiological convention its first
 * column is then on the left and its first row at the top, as stored.
 */
const AS_STORED = "LPS";

/**
 * The voxels of a volume in the order in which they are drawn: to the right, front and top of the patient,
 * whatever order the file has. An oblique volume is drawn along its own axes.
 */
export class DisplayGrid {
  /** Voxels along the drawn axes. */
  readonly shape: Voxel;
  /** Voxel size along the drawn axes in mm. */
  readonly spacing: readonly [number, number, number];
  /** For each drawn axis the volume's axis that it is. */
  readonly #axes: readonly number[];
  /** For each axis of the volume, if it is drawn from its end. */
  readonly #isFlipped: readonly boolean[];
  readonly #own: Voxel;

  /**
   * Lays out a volume.
   *
   * @param orientation Sides that the volume's axes run to, such as `LPS`; null if it does not say.
   */
  constructor(
    { shape, spacing, orientation }: Pick<Volume, "shape" | "spacing"> & {
      readonly orientation: string | null;
    },
  ) {
    const letters = [...orientation ?? AS_STORED];
    this.#own = shape;
    this.#axes = RAS.map((pair) => letters.findIndex((letter) => pair.includes(letter)));
    this.#isFlipped = letters.map((letter) => RAS.every((pair) => pair[0] !== letter));
    const [x, y, z] = this.#axes;
    this.shape = [shape[x], shape[y], shape[z]];
    this.spacing = [spacing[x], spacing[y], spacing[z]];
  }

  /**
   * Refuses a volume that a browser does not draw.
   *
   * @param options.name Its name, for messages.
   * @throws {InputError} if it has more voxels along an axis than that.
   */
  requireDrawable({ largest: { flat, solid }, name }: { largest: Largest; name: string }): void {
    const most = this.shape[2] === 1 ? flat : solid;
    if (Math.max(...this.shape) <= most) return;
    throw new InputError(
      `${excerpt(name)} has ${
        this.#own.join(" x ")
      } voxels, and this browser draws ${most} along an axis: ` +
        `crop or resample it`,
    );
  }

  /** The drawn axis that an axis of the volume is. */
  drawnAxis(axis: number): number {
    return this.#axes.indexOf(axis);
  }

  /** The drawn place of a voxel. */
  toDrawn(voxel: Voxel): Voxel {
    const at = voxel.map((n, axis) => this.#isFlipped[axis] ? this.#own[axis] - 1 - n : n);
    const [x, y, z] = this.#axes;
    return [at[x], at[y], at[z]];
  }

  /** The voxel at a drawn place. */
  toVoxel(drawn: Voxel): Voxel {
    const voxel = [0, 0, 0];
    for (const [i, axis] of this.#axes.entries()) {
      voxel[axis] = this.#isFlipped[axis] ? this.#own[axis] - 1 - drawn[i] : drawn[i];
    }
    return voxel as unknown as Voxel;
  }

  /** Steps in drawn order from one voxel to the next along each axis of the volume, and the place of the first. */
  steps(): { readonly first: number; readonly step: Voxel } {
    const drawn = [1, this.shape[0], this.shape[0] * this.shape[1]];
    const indexOf = (voxel: Voxel) =>
      this.toDrawn(voxel).reduce((sum, n, i) => sum + n * drawn[i], 0);
    const first = indexOf([0, 0, 0]);
    return {
      first,
      step: [indexOf([1, 0, 0]) - first, indexOf([0, 1, 0]) - first, indexOf([0, 0, 1]) - first],
    };
  }

  /** Voxels, x fastest, in drawn order. */
  reorder<T extends Float32Array | Uint8Array>(voxels: T): T {
    const drawn =
      (voxels instanceof Float32Array
        ? new Float32Array(voxels.length)
        : new Uint8Array(voxels.length)) as T;
    const { first, step } = this.steps();
    const [nx, ny, nz] = this.#own;
    let at = 0;
    for (let z = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        let to = first + y * step[1] + z * step[2];
        for (let x = 0; x < nx; x++, at++, to += step[0]) drawn[to] = voxels[at];
      }
    }
    return drawn;
  }
}
