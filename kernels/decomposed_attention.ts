import { byElement } from "./element.ts";
import { defineKernel } from "./spec.ts";
import rowSource from "./row.wgsl" with { type: "text" };
import softmaxSource from "./decomposed_softmax.wgsl" with { type: "text" };
import spreadSource from "./relative_spread.wgsl" with { type: "text" };
import gatherSource from "./relative_gather.wgsl" with { type: "text" };

/**
 * out [rows, n]: of each query's products with all relative positions along an axis, those to the keys'
 * positions.
 */
export const relativeGatherKernel = defineKernel({
  name: "relative_gather",
  source: gatherSource,
  buffers: { products: "read", out: "read_write" },
  params: {
    count: "u32",
    n: "u32",
    stride: "u32",
    offset: "u32",
    first: "u32",
    queries: "u32",
    divisor: "u32",
  },
});

/** x = softmax(x + bias of the key's row + bias of the key's column) along rows, in place. */
export const decomposedSoftmaxKernels = byElement({
  name: "decomposed_softmax",
  source: rowSource + softmaxSource,
  buffers: { x: "read_write", bias_h: "read", bias_w: "read" },
  params: { rows: "u32", height: "u32", width: "u32", stride: "u32" },
});

/**
 * out [rows, stride]: gradient with respect to the products with all relative positions along an axis,
 * from that with respect to the scores.
 */
export const relativeSpreadKernel = defineKernel({
  name: "relative_spread",
  source: spreadSource,
  buffers: { ds: "read", out: "read_write" },
  params: {
    count: "u32",
    n: "u32",
    columns: "u32",
    stride: "u32",
    offset: "u32",
    first: "u32",
    queries: "u32",
    divisor: "u32",
    score_stride: "u32",
    key_stride: "u32",
    others: "u32",
    other_stride: "u32",
  },
});
