import { augmentKernel, augmentLimits, modelInputKernel } from "../../../kernels/augment/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";

/** Changes that {@linkcode augmentImage} makes, in the order of the fields. */
export interface ImageChanges {
  /**
   * A pixel at (x, y) is shifted by a uniform cubic B-spline over control points, `spacing` pixels
   * apart and the first of them one spacing before the first pixel, to (u, v), and taken from the
   * source at (m[0] u + m[1] v + m[2], m[3] u + m[4] v + m[5]).
   */
  readonly warp: {
    readonly matrix: readonly number[];
    readonly displacement: {
      readonly spacing: number;
      readonly columns: number;
      readonly rows: number;
      /** [2, rows, columns] pixels. */
      readonly shifts: Float32Array;
    } | null;
  } | null;
  /** Power of the intensities as shares of 255. */
  readonly gamma: number;
  /**
   * The logarithm of a gain: coefficients of the Legendre polynomials P_i(x) P_j(y), i + j from 1 to
   * `order`, by i and then by j.
   */
  readonly bias: { readonly order: number; readonly coefficients: Float32Array } | null;
  /** Gaussian noise; the seed has 32 bits. */
  readonly noise: { readonly deviation: number; readonly seed: number } | null;
}

/**
 * Warps an image [H, W] of intensities 0..255 (bilinearly, with 0 beyond it), then applies gamma, gain
 * and noise, and clips to 0..255. A change that is null (gamma 1) leaves all bits as they are. Images are
 * data: no gradient flows to them.
 *
 * @returns [H, W]
 * @throws {Error} if the image is not a matrix, the numbers of shifts or coefficients do not fit, or
 * there are more than 67 columns of control points or degrees above 5.
 */
export function augmentImage(image: Tensor, changes: ImageChanges): Tensor {
  const { gpu } = image;
  const [height, width] = matrixShape("augmentImage", image);
  const { warp, gamma, bias, noise } = changes;
  const [m00, m01, m02, m10, m11, m12] = warp?.matrix ?? [1, 0, 0, 0, 1, 0];
  const { columns, rows, spacing, shifts } = warp?.displacement ??
    { columns: 0, rows: 0, spacing: 1, shifts: new Float32Array() };
  const order = bias?.order ?? 0;
  const coefficients = bias?.coefficients ?? new Float32Array();
  if (
    shifts.length !== 2 * rows * columns || columns > augmentLimits.maximum_columns ||
    order > augmentLimits.maximum_order ||
    coefficients.length !== (order + 1) * (order + 2) / 2 - 1
  ) {
    throw new Error(
      `augmentImage: ${shifts.length} shifts and ${coefficients.length} coefficients do not make ` +
        `${columns} x ${rows} control points, of ${augmentLimits.maximum_columns} columns at most, and ` +
        `polynomials up to degree ${order}, at most ${augmentLimits.maximum_order}`,
    );
  }
  const numbers = new Float32Array(Math.max(1, shifts.length + coefficients.length));
  numbers.set(shifts);
  numbers.set(coefficients, shifts.length);
  const out = Tensor.empty(gpu, [height, width]);
  using uploaded = Tensor.from(gpu, numbers, [numbers.length]);
  gpu.run(augmentKernel, {
    buffers: { image: image.buffer, numbers: uploaded.buffer, out: out.buffer },
    params: {
      width,
      height,
      warped: Number(warp !== null),
      m00,
      m01,
      m02,
      m10,
      m11,
      m12,
      columns,
      rows,
      per_pixel: 1 / spacing,
      gamma,
      order,
      deviation: noise?.deviation ?? 0,
      seed: noise?.seed ?? 0,
    },
    workgroups: [Math.ceil(width / 256), height],
  });
  return out;
}

/** Options of {@linkcode modelInput}. */
export interface ModelInputOptions {
  /** Side S of the input; a multiple of 4. */
  readonly side: number;
  /** Columns that the image takes in it. */
  readonly width: number;
  /** Rows that the image takes in it. */
  readonly height: number;
  /** Subtracted from each channel. */
  readonly mean: readonly [number, number, number];
  /** Divisor of each channel. */
  readonly std: readonly [number, number, number];
}

/**
 * A grey image [H, W] as the image encoder takes it: resized (bilinearly with half-pixel centres;
 * where it shrinks, the triangle filter widens), repeated over three channels, normalised, and padded
 * with 0 on the right and at the bottom. The same as `toModelInput` of `lib/data/preprocess.ts` on the
 * host, for images that are on the device. No gradient flows to it.
 *
 * @returns [1, S, S, 3]
 * @throws {Error} if the image is not a matrix, or the side no multiple of 4.
 */
export function modelInput(image: Tensor, options: ModelInputOptions): Tensor {
  const { gpu } = image;
  const [height, width] = matrixShape("modelInput", image);
  const { side, mean, std } = options;
  if (side % 4 !== 0) throw new Error(`modelInput: side ${side} is not a multiple of 4`);
  const out = Tensor.empty(gpu, [1, side, side, 3]);
  gpu.run(modelInputKernel, {
    buffers: { image: image.buffer, out: out.buffer },
    params: {
      width,
      height,
      side,
      out_width: options.width,
      out_height: options.height,
      scale_x: width / options.width,
      scale_y: height / options.height,
      mean_r: mean[0],
      mean_g: mean[1],
      mean_b: mean[2],
      std_r: std[0],
      std_g: std[1],
      std_b: std[2],
    },
    workgroups: Gpu.grid(Math.ceil(side * side / 256)),
  });
  return out;
}

function matrixShape(op: string, image: Tensor): readonly [number, number] {
  if (image.shape.length !== 2) {
    throw new Error(`${op}: takes an image [H, W], not ${shapeText(image.shape)}`);
  }
  return [image.shape[0], image.shape[1]];
}
