import { col2imKernels, im2colKernels } from "../../../kernels/convolution/mod.ts";
import { inElements } from "../../../kernels/element.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { Tensor } from "../tensor.ts";

/** Where a convolution's kernel is laid: symmetric, the same along both axes. */
export interface Window {
  /** Kernel height and width in pixels. */
  readonly kernel: readonly [number, number];
  /** Pixels between neighbouring positions. */
  readonly stride: number;
  /** Zero pixels around the image. */
  readonly padding: number;
}

/** Bytes of columns that are worth having at once; more, and images are taken in turns. */
const COLUMN_BYTES = 2 ** 25;

/** Positions of a window along height and width. */
export function positions(size: readonly [number, number], window: Window): [number, number] {
  const along = (axis: 0 | 1) =>
    Math.floor((size[axis] + 2 * window.padding - window.kernel[axis]) / window.stride) + 1;
  return [along(0), along(1)];
}

/** A turn of {@linkcode inTurns}. */
export interface Turn {
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
export function* inTurns(
  images: number,
  [positions, k]: readonly [number, number],
): Generator<Turn> {
  const atOnce = Math.max(1, Math.floor(COLUMN_BYTES / (4 * positions * k)));
  for (let first = 0; first < images; first += atOnce) {
    const count = Math.min(atOnce, images - first);
    yield { first, images: count, offset: first * positions, rows: count * positions };
  }
}

/**
 * The inputs of every window position side by side, without history: x [B, H, W, C] ->
 * [images * H' * W', kh * kw * C] for the images of one turn.
 */
export function im2col(x: Tensor, window: Window, turn: Turn): Tensor {
  const { gpu } = x;
  const [, h, w, channels] = x.shape;
  const [kernel_h, kernel_w] = window.kernel;
  const [out_h, out_w] = positions([h, w], window);
  const { kernel, elements } = inElements(im2colKernels, channels);
  const col = Tensor.empty(gpu, [turn.rows, kernel_h * kernel_w * channels]);
  const count = turn.rows * elements;
  gpu.run(kernel, {
    buffers: { x: x.buffer, col: col.buffer },
    params: {
      count,
      first: turn.first,
      h,
      w,
      out_h,
      out_w,
      channels: elements,
      kernel_h,
      kernel_w,
      padding: window.padding,
    },
    constants: { STRIDE: window.stride },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return col;
}

/**
 * The adjoint of {@linkcode im2col}: adds the columns of one turn up where they came from, writing
 * those images of `x`, with a bias per channel if there is one. Without history.
 */
export function col2im(
  col: Tensor,
  x: Tensor,
  { window, turn, bias }: { window: Window; turn: Turn; bias?: Tensor | null },
): void {
  const [, h, w, channels] = x.shape;
  const [kernel_h, kernel_w] = window.kernel;
  const [out_h, out_w] = positions([h, w], window);
  const { kernel, elements } = inElements(col2imKernels, channels);
  const count = turn.images * h * w * elements;
  x.gpu.run(kernel, {
    buffers: { col: col.buffer, bias: (bias ?? col).buffer, x: x.buffer },
    params: {
      count,
      first: turn.first,
      h,
      w,
      out_h,
      out_w,
      channels: elements,
      kernel_h,
      kernel_w,
      padding: window.padding,
    },
    constants: { STRIDE: window.stride, BIAS: bias != null },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
}
