import { type Box, centrePoint, type Prompt, type PromptPoint, tightBox } from "../data/prompts.ts";
import type { CropWindow } from "../data/preprocess.ts";
import { components } from "../metrics/components.ts";
import type { ObjectPrompt } from "./prompts.ts";
import type { SliceMask, SliceSegmenter } from "./slice_segmenter.ts";

/** Rule by which an object spreads from a slice to the next one. */
export interface SpreadRule {
  /** Share of the box by which its sides move outwards. */
  readonly margin: number;
  /** True if the mask's deepest pixel is a point prompt. */
  readonly point: boolean;
  /** True if the mask's logits are a prompt. */
  readonly logits: boolean;
  /** Share of the mean logit inside the prompted slice's mask below which a mask is none of the object. */
  readonly presence: number;
  /** Intersection over union that two neighbouring masks must have. */
  readonly overlap: number;
  /**
   * Share of its box beyond which a mask is the echo of a box prompt, and none of the object, unless the first
   * mask fills as much of its own.
   */
  readonly fill: number;
  /**
   * Intersection over union that a mask must have with the one that its own deepest pixel alone brings about: box
   * and logits go on where the object has ended, a click there finds something else. 0 asks for no such mask.
   */
  readonly agreement: number;
}

/** Rule of `./run predict`; results/predict has its figures and those of others. */
export const SPREAD: SpreadRule = {
  margin: 0,
  point: true,
  logits: true,
  presence: 0.35,
  overlap: 0.6,
  fill: 0.92, // a disc has 0.79
  agreement: 0.15, // an echo has less: the click takes what is several times as large
};

/**
 * The masks of an object in the slices of a volume, by index.
 *
 * Each prompted slice has the mask of its prompt. If the object spreads, the mask of a slice prompts the
 * slice beside it, by its box, its deepest pixel and its logits as the rule says, both ways until the rule
 * or another prompted slice stops it.
 *
 * @param options.onSlice Called after each slice that the model was shown.
 * @param options.signal Ends it before the next slice, with the masks found so far.
 */
export async function segmentObject(
  segmenter: Pick<SliceSegmenter, "segment">,
  { slices, beside, spread }: ObjectPrompt,
  { rule, window, onSlice = () => {}, signal }: {
    rule: SpreadRule;
    window: CropWindow;
    onSlice?: (index: number) => void;
    signal?: AbortSignal;
  },
): Promise<Map<number, SliceMask>> {
  const found = new Map<number, SliceMask>();
  const seeds = [...slices.keys()].sort((a, b) => a - b);
  for (const index of seeds) {
    if (signal?.aborted) return found;
    found.set(index, await segmenter.segment(index, slices.get(index)!));
    onSlice(index);
  }
  if (!spread) return found;
  for (const [i, seed] of seeds.entries()) {
    const [before, after] = [seeds[i - 1], seeds[i + 1]];
    // Slices between two prompted ones belong to the nearer.
    const last = after === undefined ? spread[1] : (seed + after) >> 1;
    const first = before === undefined ? spread[0] : ((before + seed) >> 1) + 1;
    for (const step of [1, -1]) {
      let from = found.get(seed)!;
      for (
        let index = seed + step;
        index <= last && index >= first && from.area > 0 && !signal?.aborted;
        index += step
      ) {
        const whole = await segmenter.segment(
          index,
          promptOf(from, { window, rule, beside: beside?.get(index) ?? [] }),
          rule.logits ? from.logits : undefined,
        );
        onSlice(index);
        const next = partOf(whole, from, window);
        if (!continues(from, next, { rule, window, first: found.get(seed)! })) break;
        if (rule.agreement > 0) {
          const points = [
            centrePoint({ mask: next.mask, ...window }),
            ...beside?.get(index) ?? [],
          ];
          const clicked = await segmenter.segment(index, { points });
          if (!(overlapOf(clicked, next) >= rule.agreement)) break;
        }
        found.set(index, next);
        from = next;
      }
    }
  }
  return found;
}

/** The prompt of a slice by the mask of its neighbour. */
function promptOf(
  { mask }: SliceMask,
  { window: { width, height }, rule: { margin, point }, beside }: {
    window: CropWindow;
    rule: SpreadRule;
    beside: readonly PromptPoint[];
  },
): Prompt {
  const own = { mask, width, height };
  const [x0, y0, x1, y1] = tightBox(own);
  const [dx, dy] = [margin * (x1 - x0), margin * (y1 - y0)];
  const box: Box = [
    Math.max(0, x0 - dx),
    Math.max(0, y0 - dy),
    Math.min(width, x1 + dx),
    Math.min(height, y1 + dy),
  ];
  const points = [...point ? [centrePoint(own)] : [], ...beside];
  return points.length > 0 ? { box, points } : { box };
}

/** The part of a mask that has most in common with its neighbour's: another would make the next box grow. */
function partOf(next: SliceMask, from: SliceMask, { width, height }: CropWindow): SliceMask {
  const { labels, count } = components(next.mask, [width, height, 1]);
  if (count < 2) return next;
  const shared = new Uint32Array(count + 1);
  for (let i = 0; i < labels.length; i++) shared[labels[i]] += from.mask[i];
  shared[0] = 0; // the background
  const most = shared.indexOf(Math.max(...shared));
  const mask = Uint8Array.from(labels, (label) => Number(label === most && label > 0));
  return { ...next, mask, area: mask.reduce((sum, pixel) => sum + pixel, 0) };
}

/** True if a mask is that of the same object as its neighbour's. */
function continues(
  from: SliceMask,
  next: SliceMask,
  { rule: { presence, overlap, fill }, window: { width, height }, first }: {
    rule: SpreadRule;
    window: CropWindow;
    first: SliceMask;
  },
): boolean {
  if (next.area === 0 || next.scores.meanLogit < presence * first.scores.meanLogit) return false;
  const fillOf = ({ mask, area }: SliceMask) => {
    const [x0, y0, x1, y1] = tightBox({ mask, width, height });
    return area / ((x1 - x0) * (y1 - y0));
  };
  if (fillOf(next) > Math.max(fill, fillOf(first))) return false;
  return overlapOf(from, next) >= overlap;
}

/** Intersection over union of two masks; NaN if both are empty. */
function overlapOf(a: SliceMask, b: SliceMask): number {
  let both = 0;
  for (let i = 0; i < a.mask.length; i++) both += a.mask[i] & b.mask[i];
  return both / (a.area + b.area - both);
}
