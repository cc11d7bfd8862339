import { inElements } from "../../../kernels/element.ts";
import { placeKernels, windowKernels } from "../../../kernels/window.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { type Shape, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { addInPlace } from "./arithmetic.ts";
import { sum } from "./sum.ts";

/** Images x [B, H, W, C] in frames [B, height, width, C], top left on top left, without history. */
function place(x: Tensor, height: number, width: number): Tensor {
  const { gpu } = x;
  const [batch, h, w, channels] = x.shape;
  const { kernel, elements } = inElements(placeKernels, channels);
  const out = Tensor.empty(gpu, [batch, height, width, channels]);
  const quads = Math.ceil(width / 4);
  const count = batch * height * quads * elements;
  gpu.run(kernel, {
    buffers: { x: x.buffer, out: out.buffer },
    params: { count, h, w, out_h: height, out_w: width, channels: elements, quads },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return out;
}

function checkImages(op: string, { shape }: Tensor): void {
  if (shape.length !== 4) throw new Error(`${op}: ${shapeText(shape)} is not [B, H, W, C]`);
}

/**
 * Adds rows of zeros at the bottom of images [B, H, W, C] and columns on the right. Gradient: dy
 * without them.
 *
 * @throws {Error} if x has not four axes or a width is negative.
 */
export function pad2d(
  x: Tensor,
  { bottom = 0, right = 0 }: { readonly bottom?: number; readonly right?: number },
): Tensor {
  checkImages("pad2d", x);
  if (bottom < 0 || right < 0) {
    throw new Error(`pad2d: ${bottom} rows and ${right} columns: use crop2d to cut some off`);
  }
  const [, h, w] = x.shape;
  return record({
    op: "pad2d",
    inputs: [x],
    output: place(x, h + bottom, w + right),
    saved: [],
    backward: (dy) => [place(dy, h, w)],
  });
}

/**
 * Keeps the top left `height` x `width` pixels of images [B, H, W, C]. Gradient: dy in a frame of
 * zeros.
 *
 * @throws {Error} if x has not four axes or is smaller than that.
 */
export function crop2d(
  x: Tensor,
  { height, width }: { readonly height: number; readonly width: number },
): Tensor {
  checkImages("crop2d", x);
  const [, h, w] = x.shape;
  if (height < 1 || width < 1 || height > h || width > w) {
    throw new Error(`crop2d: ${height} x ${width} pixels are not within ${shapeText(x.shape)}`);
  }
  return record({
    op: "crop2d",
    inputs: [x],
    output: place(x, height, width),
    saved: [],
    backward: (dy) => [place(dy, h, w)],
  });
}

/** Copies between images and their windows, without history. */
function copyWindows(
  x: Tensor,
  { size, images, unpartition, fill }: {
    size: number;
    images: Shape;
    unpartition: boolean;
    fill?: Tensor | null;
  },
): Tensor {
  const { gpu } = x;
  const [batch, h, w, channels] = images;
  const rows = Math.ceil(h / size);
  const columns = Math.ceil(w / size);
  const { kernel, elements } = inElements(windowKernels, channels);
  const windows = batch * rows * columns;
  const out = Tensor.empty(gpu, unpartition ? images : [windows, size * size, channels]);
  const count = windows * size * elements;
  gpu.run(kernel, {
    buffers: { x: x.buffer, fill: (fill ?? x).buffer, out: out.buffer },
    params: { count, h, w, rows, columns, size, channels: elements },
    constants: { UNPARTITION: unpartition, FILL: fill != null },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return out;
}

/** Options of {@linkcode windowPartition}. */
export interface WindowPartitionOptions {
  /** [C]: the pixel that lies beyond the image; by default zeros. */
  readonly fill?: Tensor | null;
}

/**
 * Cuts images [B, H, W, C] into windows of size x size pixels: [B * rows * columns, size * size, C],
 * rows = ceil(H / size) and columns = ceil(W / size), in reading order. Windows that reach beyond the
 * image are filled up. Gradients: {@linkcode windowUnpartition}, and for the filling the sum of dy
 * beyond the image.
 *
 * @throws {Error} if x has not four axes, the size is not a positive whole number or the filling has
 * not C channels.
 */
export function windowPartition(
  x: Tensor,
  size: number,
  options: WindowPartitionOptions = {},
): Tensor {
  const { fill = null } = options;
  checkImages("windowPartition", x);
  if (!Number.isInteger(size) || size < 1) {
    throw new Error(`windowPartition: windows cannot be ${size} pixels wide`);
  }
  const images = x.shape;
  if (fill && fill.size !== images[3]) {
    throw new Error(
      `windowPartition: a filling ${shapeText(fill.shape)} is no pixel of ${shapeText(images)}`,
    );
  }
  return record({
    op: "windowPartition",
    inputs: fill ? [x, fill] : [x],
    output: copyWindows(x, { size, images, unpartition: false, fill }),
    saved: [],
    backward: (dy, _, [, toFill = false]) => {
      const dx = copyWindows(dy, { size, images, unpartition: true });
      if (!fill) return [dx];
      // What the windows hold and the images do not.
      const dFill = toFill
        ? addInPlace(sum(dy, { axes: [0, 1] }), sum(dx, { axes: [0, 1, 2] }), { scale: -1 })
        : null;
      return [dx, dFill?.view(fill.shape) ?? null];
    },
  });
}

/** Options of {@linkcode windowUnpartition}. */
export interface WindowUnpartitionOptions {
  /** Pixels along a window's side. */
  readonly size: number;
  /** Images, height and width to make. */
  readonly images: readonly [batch: number, height: number, width: number];
}

/**
 * Puts windows [B * rows * columns, size * size, C] back together to images [B, H, W, C] and drops
 * what lies beyond. Gradient: {@linkcode windowPartition}.
 *
 * @throws {Error} if there are not as many windows as the images have.
 */
export function windowUnpartition(
  x: Tensor,
  { size, images: [batch, h, w] }: WindowUnpartitionOptions,
): Tensor {
  const windows = batch * Math.ceil(h / size) * Math.ceil(w / size);
  if (x.shape.length !== 3 || x.shape[0] !== windows || x.shape[1] !== size * size) {
    throw new Error(
      `windowUnpartition: ${
        shapeText(x.shape)
      } are not the windows of ${size} x ${size} pixels of ${shapeText([batch, h, w])}`,
    );
  }
  const images = [batch, h, w, x.shape[2]];
  return record({
    op: "windowUnpartition",
    inputs: [x],
    output: copyWindows(x, { size, images, unpartition: true }),
    saved: [],
    backward: (dy) => [copyWindows(dy, { size, images, unpartition: false })],
  });
}
