import { inElements } from "../../../kernels/element.ts";
import { placeKernels } from "../../../kernels/movement/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { zeros } from "./fill.ts";
import { insert, reshape } from "./movement.ts";

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

/**
 * The tokens of images [B, H, W, C] as rows [B H W, C]. If windows of size x size tokens reach beyond
 * the images there is one row more, of zeros: it stands for all the padding. Gradient: dy without it.
 *
 * @throws {Error} if x has not four axes or the size is not a positive whole number.
 */
export function windowTokens(x: Tensor, size: number): Tensor {
  checkImages("windowTokens", x);
  if (!Number.isInteger(size) || size < 1) {
    throw new Error(`windowTokens: windows cannot be ${size} tokens wide`);
  }
  const [batch, h, w, channels] = x.shape;
  const rows = batch * h * w;
  if (h % size === 0 && w % size === 0) return reshape(x, [rows, channels]);
  const { gpu } = x;
  const output = Tensor.empty(gpu, [rows + 1, channels]);
  gpu.copy(x.buffer, output.buffer, 4 * x.size);
  using padding = zeros(gpu, [1, channels]);
  insert(padding, output, 0, rows);
  return record({
    op: "windowTokens",
    inputs: [x],
    output,
    saved: [],
    backward: (dy) => {
      const dx = Tensor.empty(gpu, x.shape);
      gpu.copy(dy.buffer, dx.buffer, 4 * dx.size);
      return [dx];
    },
  });
}
