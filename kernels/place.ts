import { byElement, type ElementKernels } from "./element.ts";
import placeSource from "./place.wgsl" with { type: "text" };

/** Images in frames of another size: cropped or zero-padded at the bottom and on the right. */
export const placeKernels: ElementKernels<
  "x" | "out",
  "count" | "h" | "w" | "out_h" | "out_w" | "channels" | "quads"
> = byElement({
  name: "place",
  source: placeSource,
  buffers: { x: "texel", out: "read_write" },
  params: {
    count: "u32",
    h: "u32",
    w: "u32",
    out_h: "u32",
    out_w: "u32",
    channels: "u32",
    quads: "u32",
  },
});
