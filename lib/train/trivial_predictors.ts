/**
 * Predictors that know no image: what a model must beat before its Dice means anything. Each table
 * carries them beside the models.
 *
 * @module
 */
import type { Box } from "../data/prompts.ts";

/** The pixel grid that a mask is drawn on. */
export interface Grid {
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
}

/** One byte a pixel, rows one after another, 1 where `inside` holds for the pixel's centre. */
function draw(grid: Grid, inside: (x: number, y: number) => boolean): Uint8Array {
  const mask = new Uint8Array(grid.width * grid.height);
  for (let row = 0; row < grid.height; row++) {
    for (let column = 0; column < grid.width; column++) {
      mask[row * grid.width + column] = Number(inside(column + 0.5, row + 0.5));
    }
  }
  return mask;
}

/** The predictor that calls the whole slice tumour, as a collapsed model does. */
export function allOnes(grid: Grid): Uint8Array {
  return draw(grid, () => true);
}

/** The predictor that answers a box prompt (of whole or fractional pixels) with the box, filled. */
export function filledBox([x0, y0, x1, y1]: Readonly<Box>, grid: Grid): Uint8Array {
  return draw(grid, (x, y) => x >= x0 && x < x1 && y >= y0 && y < y1);
}

/** The predictor that answers a box prompt with the ellipse whose axes are the box's sides. */
export function inscribedEllipse([x0, y0, x1, y1]: Readonly<Box>, grid: Grid): Uint8Array {
  return draw(grid, (x, y) => {
    const u = (2 * x - x0 - x1) / (x1 - x0);
    const v = (2 * y - y0 - y1) / (y1 - y0);
    return u * u + v * v <= 1;
  });
}
