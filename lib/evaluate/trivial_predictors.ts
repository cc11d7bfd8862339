/**
 * Predictors that know no image. A model must beat them before its Dice means anything, and each table
 * carries them beside the models.
 *
 * @module
 */
import type { SliceReader } from "../data/loader.ts";
import { type Box, PROMPT_KINDS } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { evaluationPrompt } from "./scored_prompts.ts";
import { scoreMask } from "../metrics/mask_score.ts";
import type { ProtocolResult, ProtocolSlice } from "./protocol.ts";

/** Pixel grid that a mask is drawn on. */
export interface Grid {
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
}

/** Mask [height, width] of one byte a pixel, 1 where `inside` holds for the pixel's centre. */
function draw(grid: Grid, inside: (x: number, y: number) => boolean): Uint8Array {
  const mask = new Uint8Array(grid.width * grid.height);
  for (let row = 0; row < grid.height; row++) {
    for (let column = 0; column < grid.width; column++) {
      mask[row * grid.width + column] = Number(inside(column + 0.5, row + 0.5));
    }
  }
  return mask;
}

/** Predictor that calls the whole slice tumour, as a collapsed model does. */
export function allOnes(grid: Grid): Uint8Array {
  return draw(grid, () => true);
}

/** Predictor that answers a box prompt (of whole or fractional pixels) with the box, filled. */
export function filledBox([x0, y0, x1, y1]: Readonly<Box>, grid: Grid): Uint8Array {
  return draw(grid, (x, y) => x >= x0 && x < x1 && y >= y0 && y < y1);
}

/** Predictor that answers a box prompt with the ellipse whose axes are the box's sides. */
export function inscribedEllipse([x0, y0, x1, y1]: Readonly<Box>, grid: Grid): Uint8Array {
  return draw(grid, (x, y) => {
    const u = (2 * x - x0 - x1) / (x1 - x0);
    const v = (2 * y - y0 - y1) / (y1 - y0);
    return u * u + v * v <= 1;
  });
}

/** Trivial predictors by their names in tables; each answers a box. */
export const TRIVIAL_PREDICTORS: Readonly<
  Record<string, (box: Readonly<Box>, grid: Grid) => Uint8Array>
> = {
  "All ones": (_, grid) => allOnes(grid),
  "Filled box": filledBox,
  "Inscribed ellipse": inscribedEllipse,
};

/**
 * Scores the trivial predictors slice by slice under the prompts of the protocol that are boxes, the
 * same boxes that models are given.
 *
 * @param options.seed As of `runProtocol`.
 * @returns Scores of the slices by predictor; cases are not scored.
 */
export async function scoreTrivialPredictors(
  data: { reader: SliceReader; refs: readonly SliceRef[] },
  { seed }: { seed: number },
): Promise<Record<string, ProtocolResult>> {
  const boxes = PROMPT_KINDS.filter((kind) => !kind.startsWith("point"));
  const found = Object.keys(TRIVIAL_PREDICTORS).map((name) =>
    [name, [] as ProtocolSlice[]] as const
  );
  for (const ref of data.refs) {
    const slice = await data.reader.read(ref);
    const { id, caseId, patient, width, height, spacing: [dx, dy], tumourVoxels } = ref;
    const grid = { level: "slice", shape: [width, height, 1], spacing: [dx, dy, 1] } as const;
    for (const [name, slices] of found) {
      const scores = Object.fromEntries(boxes.map((kind) => {
        const { box } = evaluationPrompt(kind, slice, seed);
        return [kind, scoreMask(TRIVIAL_PREDICTORS[name](box!, ref), slice.mask, grid)];
      }));
      slices.push({ id, caseId, patient, tumourPixels: tumourVoxels, scores });
    }
  }
  return Object.fromEntries(found.map(([name, slices]) => [name, { slices, cases: [] }]));
}
