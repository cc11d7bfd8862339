/**
 * Thumbnails that tell whether two slices are one picture, whatever file or name it came by. Published
 * data sets repeat each other's slices, plain and mirrored: a score on such a copy of a training slice
 * says nothing of new ones.
 *
 * @module
 */
import type { SliceReader } from "./loader.ts";
import type { Slice, SliceRef } from "./slices.ts";

/** Cells along each side of a thumbnail. */
const SIDE = 12;

/** Cells of a thumbnail. */
const CELLS = SIDE * SIDE;

/**
 * Correlation from which slices look alike. Of 571 slices of 54 patients and two scanners none is above
 * 0.94 with one of another patient; copies that were mirrored, resized, compressed or made brighter have
 * 0.97 or more, neighbours in a volume 0.97 up to 3 mm.
 */
const ALIKE = 0.96;

/** Correlation from which the thumbnail of a neighbour in the same case adds nothing. */
const REPEATED = 0.98;

/** Bytes of a thumbnail. */
export const THUMBNAIL_BYTES: number = CELLS;

/** A picture by rows. */
export interface Picture {
  /** height * width values. */
  readonly image: Float32Array;
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
}

/** Means over `SIDE` equal parts of each row of a picture [rows, columns], as [SIDE, rows]. */
function narrow(pixels: Float32Array, rows: number, columns: number): Float32Array {
  const means = new Float32Array(SIDE * rows);
  const part = columns / SIDE;
  for (let i = 0; i < SIDE; i++) {
    const [from, to] = [i * part, (i + 1) * part];
    for (let x = Math.floor(from); x < Math.min(columns, Math.ceil(to)); x++) {
      const share = (Math.min(to, x + 1) - Math.max(from, x)) / part;
      for (let y = 0; y < rows; y++) means[i * rows + y] += share * pixels[y * columns + x];
    }
  }
  return means;
}

/** Each cell less the mean of the 3 x 3 about it: heads are alike in what is left out. */
function detail(cells: Float32Array): Float32Array {
  return cells.map((value, at) => {
    const [row, column] = [Math.floor(at / SIDE), at % SIDE];
    let [sum, count] = [0, 0];
    for (let y = Math.max(0, row - 1); y <= Math.min(SIDE - 1, row + 1); y++) {
      for (let x = Math.max(0, column - 1); x <= Math.min(SIDE - 1, column + 1); x++) {
        sum += cells[y * SIDE + x];
        count++;
      }
    }
    return value - sum / count;
  });
}

/** Shifts and scales cells to mean 0 and norm 1; null if they are all the same. */
function normalise(cells: Float32Array): Float32Array | null {
  const mean = cells.reduce((sum, value) => sum + value, 0) / CELLS;
  const norm = Math.sqrt(cells.reduce((sum, value) => sum + (value - mean) ** 2, 0));
  return norm > 1e-6 ? cells.map((value) => (value - mean) / norm) : null;
}

/** Detail of a picture as a thumbnail of norm 1; null for a picture without any. */
function thumbnail({ image, width, height }: Picture): Float32Array | null {
  const cells = narrow(narrow(image, height, width), SIDE, height); // [SIDE, SIDE], rows first
  return normalise(detail(cells));
}

/** A thumbnail in a byte a cell; its norm is lost. */
function encode(cells: Float32Array): Uint8Array {
  const most = cells.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  return Uint8Array.from(cells, (value) => 128 + Math.round(127 * value / most));
}

function decode(bytes: Uint8Array): Float32Array {
  const cells = Float32Array.from(bytes, (value) => value - 128);
  return normalise(cells) ?? cells;
}

/** A thumbnail as it is, mirrored and turned: all eight ways to lay a square. */
function orientations(cells: Float32Array): Float32Array[] {
  return Array.from({ length: 8 }, (_, way) =>
    cells.map((_, at) => {
      const [row, column] = [Math.floor(at / SIDE), at % SIDE];
      const x = way & 1 ? SIDE - 1 - column : column;
      const y = way & 2 ? SIDE - 1 - row : row;
      return cells[way & 4 ? x * SIDE + y : y * SIDE + x];
    }));
}

function correlation(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < CELLS; at++) sum += a[at] * b[at];
  return sum;
}

/** Thumbnails of slices, such as those that an adapter was trained on. */
export class Thumbnails {
  /** The thumbnails one after the other, {@linkcode THUMBNAIL_BYTES} each. */
  readonly bytes: Uint8Array;
  readonly #cells: readonly Float32Array[];

  /** Takes thumbnails as {@linkcode bytes} holds them; of a part of one at the end nothing is taken. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#cells = Array.from(
      { length: Math.floor(bytes.length / THUMBNAIL_BYTES) },
      (_, i) => decode(bytes.subarray(i * THUMBNAIL_BYTES, (i + 1) * THUMBNAIL_BYTES)),
    );
  }

  /**
   * Makes the thumbnails of slices. Of neighbours in a case that are all but the same one stays, so that a
   * volume of thin slices takes no more than one of thick ones.
   */
  static async of(reader: SliceReader, refs: readonly SliceRef[]): Promise<Thumbnails> {
    const kept: Uint8Array[] = [];
    let lastCase = "";
    let lastCells: Float32Array = new Float32Array(CELLS);
    for (const ref of refs) {
      const cells = thumbnail(pictureOf(await reader.read(ref)));
      if (!cells) continue;
      if (lastCase === ref.caseId && correlation(cells, lastCells) >= REPEATED) continue;
      kept.push(encode(cells));
      [lastCase, lastCells] = [ref.caseId, cells];
    }
    const bytes = new Uint8Array(kept.length * THUMBNAIL_BYTES);
    kept.forEach((own, i) => bytes.set(own, i * THUMBNAIL_BYTES));
    return new Thumbnails(bytes);
  }

  /**
   * Highest correlation of a picture with one of these, in whichever way it is mirrored or turned; 0 for
   * a picture without contrast.
   */
  nearest(picture: Picture): number {
    const cells = thumbnail(picture);
    if (!cells) return 0;
    const ways = orientations(cells);
    let most = 0;
    for (const own of this.#cells) {
      for (const way of ways) most = Math.max(most, correlation(own, way));
    }
    return most;
  }

  /** True if a picture looks like one of these. */
  has(picture: Picture): boolean {
    return this.nearest(picture) >= ALIKE;
  }
}

/** A slice as a picture. */
export function pictureOf({ image, ref: { width, height } }: Slice): Picture {
  return { image, width, height };
}
