import { col2imKernels, im2colKernels } from "../../../kernels/convolution/mod.ts";
import { inElements } from "../../../kernels/element.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { Tensor } from "../tensor.ts";
import { gemm } from "./gemm.ts";

/** Size and placement of a convolution's kernel: symmetric, the same along both axes. */
export interface Window {
  /** Kernel height and width in pixels. */
  readonly kernel: readonly [number, number];
  /** Pixels between neighbouring positions. */
  readonly stride: number;
  /** Zero pixels around the image. */
  readonly padding: number;
}

/** Window and bias of a convolution. */
export interface Convolution {
  /** The window laid over the images. */
  readonly window: Window;
  /** [C] of the output, or none. */
  readonly bias: Tensor | null;
}

/** Bytes of columns held at once; the images of a batch that need more are taken in turns. */
const COLUMN_BYTES = 2 ** 25;

/** Positions of a window along height and width. */
export function positions(size: readonly [number, number], window: Window): [number, number] {
  const along = (axis: 0 | 1) =>
    Math.floor((size[axis] + 2 * window.padding - window.kernel[axis]) / window.stride) + 1;
  return [along(0), along(1)];
}

/** Images whose columns are held at once. */
interface Turn {
  /** First image. */
  readonly first: number;
  /** Number of images. */
  readonly images: number;
  /** Matrix rows before the first image: `first` times its number of positions. */
  readonly offset: number;
  /** Matrix rows, images times positions. */
  readonly rows: number;
}

/**
 * Splits a batch so that the columns of a turn, [rows, k], stay within a moderate buffer: at side
 * 1024 those of a whole batch would exceed what WebGPU can bind.
 */
function* inTurns({ shape: [images, h, w] }: Tensor, window: Window, k: number): Generator<Turn> {
  const [outH, outW] = positions([h, w], window);
  const atOnce = Math.max(1, Math.floor(COLUMN_BYTES / (4 * outH * outW * k)));
  for (let first = 0; first < images; first += atOnce) {
    const count = Math.min(atOnce, images - first);
    yield { first, images: count, offset: first * outH * outW, rows: count * outH * outW };
  }
}

/** Parameters that im2col and col2im share, for images [B, H, W, C] in elements. */
function imageParams({ shape: [, h, w] }: Tensor, window: Window, channels: number) {
  const [kernel_h, kernel_w] = window.kernel;
  const [out_h, out_w] = positions([h, w], window);
  return { h, w, out_h, out_w, channels, kernel_h, kernel_w, padding: window.padding };
}

/** Images, and the window whose positions are the rows of their columns. */
export interface Columns {
  /** [B, H, W, C] */
  readonly images: Tensor;
  /** The window laid over them. */
  readonly window: Window;
}

/**
 * Columns of images, a turn at a time: the inputs of every window position side by side,
 * [rows, kh * kw * C], without history.
 */
function* columnsOf({ images, window }: Columns): Generator<{ col: Tensor; turn: Turn }> {
  const { gpu, shape } = images;
  const { kernel, elements } = inElements(im2colKernels, shape[3]);
  const k = window.kernel[0] * window.kernel[1] * shape[3];
  for (const turn of inTurns(images, window, k)) {
    using col = Tensor.empty(gpu, [turn.rows, k]);
    const count = turn.rows * elements;
    gpu.run(kernel, {
      buffers: { x: images.buffer, col: col.buffer },
      params: { count, first: turn.first, ...imageParams(images, window, elements) },
      constants: { STRIDE: window.stride },
      workgroups: Gpu.grid(Math.ceil(count / 64)),
    });
    yield { col, turn };
  }
}

/** Products of columns with matrices of a row for each window position. */
export interface ColumnProducts {
  /** rows = activation(col weightᵀ + bias), written: [positions, n]. */
  readonly rows?: {
    readonly output: Tensor;
    /** [n, kh * kw * C] */
    readonly weight: Tensor;
    /** [n] */
    readonly bias?: Tensor | null;
    readonly activation?: "gelu";
  } | null;
  /** output = rowsᵀ col, written: [n, kh * kw * C]. */
  readonly weight?: { readonly output: Tensor; readonly rows: Tensor } | null;
}

/** Multiplies the columns of images, which are made once for both products. Without history. */
export function multiplyColumns(columns: Columns, { rows, weight }: ColumnProducts): void {
  if (!rows && !weight) return;
  for (const { col, turn } of columnsOf(columns)) {
    const k = col.shape[1];
    if (rows) {
      const [n] = rows.weight.shape;
      gemm({
        m: turn.rows,
        n,
        k,
        a: { tensor: col, ld: k },
        b: { tensor: rows.weight, ld: k, transpose: true },
        c: { tensor: rows.output, ld: n, offset: turn.offset * n },
        bias: rows.bias,
        activation: rows.activation,
      });
    }
    if (weight) {
      const [n] = weight.output.shape;
      gemm({
        m: n,
        n: k,
        k: turn.rows,
        a: { tensor: weight.rows, ld: n, offset: turn.offset * n, transpose: true },
        b: { tensor: col, ld: k },
        c: { tensor: weight.output, ld: k },
        accumulate: turn.first > 0,
      });
    }
  }
}

/**
 * The adjoint: images = col2im(rows weight) + bias, written. Every pixel gathers the columns it is part
 * of. Without history.
 *
 * @param operands.rows [positions, n]
 * @param operands.weight [n, kh * kw * C]
 * @param operands.bias [C], or none.
 */
export function scatterColumns(
  { images, window }: Columns,
  { rows, weight, bias = null }: { rows: Tensor; weight: Tensor; bias?: Tensor | null },
): void {
  const { gpu, shape: [, h, w, channels] } = images;
  const { kernel, elements } = inElements(col2imKernels, channels);
  const [n, k] = weight.shape;
  for (const turn of inTurns(images, window, k)) {
    using col = Tensor.empty(gpu, [turn.rows, k]);
    gemm({
      m: turn.rows,
      n: k,
      k: n,
      a: { tensor: rows, ld: n, offset: turn.offset * n },
      b: { tensor: weight, ld: k },
      c: { tensor: col, ld: k },
    });
    const count = turn.images * h * w * elements;
    gpu.run(kernel, {
      buffers: { col: col.buffer, bias: (bias ?? col).buffer, x: images.buffer },
      params: { count, first: turn.first, ...imageParams(images, window, elements) },
      constants: { STRIDE: window.stride, BIAS: bias !== null },
      workgroups: Gpu.grid(Math.ceil(count / 64)),
    });
  }
}
