import { sizeOf } from "../../../lib/tensor/shape.ts";
import type { Reference } from "../check.ts";

/** Images in a frame of another size, by pixel. */
export function frame(
  { shape: [batch, h, w, channels], data }: Reference,
  [height, width]: readonly number[],
): Reference {
  const shape = [batch, height, width, channels];
  const out = new Float64Array(batch * height * width * channels);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < channels; c++, at++) {
          if (y < h && x < w) out[at] = data[((b * h + y) * w + x) * channels + c];
        }
      }
    }
  }
  return { shape, data: out };
}

/** Calls `visit` with the place of every element of the images in its window. */
function visitWindows(
  [batch, h, w, channels]: readonly number[],
  { size, visit }: {
    readonly size: number;
    readonly visit: (image: number, window: number) => void;
  },
) {
  const [rows, columns] = [Math.ceil(h / size), Math.ceil(w / size)];
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const window = (b * rows + Math.floor(y / size)) * columns + Math.floor(x / size);
        const pixel = (window * size + y % size) * size + x % size;
        for (let c = 0; c < channels; c++) {
          visit(((b * h + y) * w + x) * channels + c, pixel * channels + c);
        }
      }
    }
  }
}

/** The shape of the windows of size x size pixels of images. */
export const windowShape = (
  [batch, h, w, channels]: readonly number[],
  size: number,
): number[] => [
  batch * Math.ceil(h / size) * Math.ceil(w / size),
  size * size,
  channels,
];

/** Images cut into windows; what lies beyond the image is a pixel `fill`, or zeros. */
export function windowPartition64(
  { shape, data }: Reference,
  size: number,
  { fill }: { readonly fill?: Reference } = {},
): Reference {
  const windows = windowShape(shape, size);
  const out = Float64Array.from(
    { length: sizeOf(windows) },
    (_, i) => fill?.data[i % shape[3]] ?? 0,
  );
  visitWindows(shape, { size, visit: (image, window) => out[window] = data[image] });
  return { shape: windows, data: out };
}

/** Windows put back together to `images`, a shape [B, H, W, C]. */
export function windowUnpartition64(
  { data }: Reference,
  { size, images }: { readonly size: number; readonly images: readonly number[] },
): Reference {
  const out = new Float64Array(sizeOf(images));
  visitWindows(images, { size, visit: (image, window) => out[image] = data[window] });
  return { shape: images, data: out };
}

/** Tokens as rows, and one of zeros if windows reach beyond the images. */
export function windowTokens64({ shape, data }: Reference, size: number): Reference {
  const [batch, h, w, channels] = shape;
  const rows = batch * h * w + (h % size || w % size ? 1 : 0);
  const out = new Float64Array(rows * channels);
  out.set(data);
  return { shape: [rows, channels], data: out };
}

/**
 * An attention within windows, in three steps: cut the tokens' projections into windows filled up with the
 * last row, attend within each, put them back together.
 */
export function inWindows64(
  { data, shape: [, channels] }: Reference,
  { size, images: [batch, h, w], attend }: {
    readonly size: number;
    readonly images: readonly [number, number, number];
    readonly attend: (qkv: Reference) => Reference;
  },
): Reference {
  const tokens = { shape: [batch, h, w, channels], data };
  const fill = { shape: [channels], data: data.subarray(data.length - channels) };
  const attended = attend(windowPartition64(tokens, size, { fill }));
  return windowUnpartition64(attended, { size, images: [batch, h, w, channels / 3] });
}
