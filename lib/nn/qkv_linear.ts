import type { Gpu } from "../gpu/gpu.ts";
import { Linear } from "./linear.ts";

/** The queries, the keys or the values. */
export type QkvPart = "q" | "k" | "v";

const PARTS: readonly QkvPart[] = ["q", "k", "v"];

/**
 * The projection to queries, keys and values whose rows lie per head: [q | k | v] of head 0, then of
 * head 1, as in TinyViT. SAM's own ViT has thirds, [q | k | v] of all heads, in a plain
 * {@linkcode Linear}.
 */
export class QkvLinear extends Linear {
  /** Attention heads. */
  readonly heads: number;

  /** Makes an empty layer, dim -> 3 dim. */
  constructor(gpu: Gpu, { dim, heads }: { dim: number; heads: number }) {
    super(gpu, { inFeatures: dim, outFeatures: 3 * dim });
    this.heads = heads;
  }
}

/** Part that each row of a fused projection computes; null if its rows do not fall into three parts. */
export function qkvParts(layer: Linear): QkvPart[] | null {
  const rows = layer.outFeatures;
  const width = rows / 3 / (layer instanceof QkvLinear ? layer.heads : 1);
  if (!Number.isInteger(width)) return null;
  return Array.from({ length: rows }, (_, row) => PARTS[Math.floor(row / width) % 3]);
}
