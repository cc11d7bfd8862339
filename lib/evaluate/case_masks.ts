import type { Slice, SliceRef } from "../data/slices.ts";
import { type MaskScore, scoreMask } from "../metrics/mask_score.ts";
import type { ScoredPrompt } from "./scored_prompts.ts";

/** True and predicted masks of a case's slices, until all are there and the volume can be scored. */
export class CaseMasks {
  readonly #refs: readonly SliceRef[];
  readonly #truths = new Map<number, Uint8Array>();
  readonly #predictions = new Map<ScoredPrompt, Map<number, Uint8Array>>();

  /** Waits for the slices `refs` of one case. */
  constructor(refs: readonly SliceRef[]) {
    this.#refs = refs;
  }

  /** True once every slice of the case is there. */
  get complete(): boolean {
    return this.#truths.size === this.#refs.length;
  }

  /** Takes a slice and its masks by prompt; under prompts that it has none for, as boxes without tumour, it stays empty. */
  add({ ref, mask }: Slice, masks: ReadonlyMap<ScoredPrompt, Uint8Array>): void {
    this.#truths.set(ref.index, mask);
    for (const [prompt, prediction] of masks) {
      const own = this.#predictions.get(prompt) ?? new Map<number, Uint8Array>();
      this.#predictions.set(prompt, own.set(ref.index, prediction));
    }
  }

  /**
   * Scores the slices as one volume, under each of the prompts that any of them was given; where none
   * was, as boxes in a volume without tumour, there is nothing to score.
   *
   * Distances between surfaces, lesions and sizes are those of a volume of which every slice is there;
   * of others there are Dice and IoU alone. What lies beyond the first and the last slice is unknown, not
   * empty: where these show tumour, they are no surface for that alone, which in a stack of few slices
   * would make most of a mask boundary. So the volume of a 2D scan, its one slice, has the boundary that is
   * usual for such scans: the outline in the plane, with distances and tolerances in mm by the spacing of
   * its pixels.
   */
  score(prompts: readonly ScoredPrompt[]): Partial<Record<ScoredPrompt, MaskScore>> {
    const { width, height, spacing: [dx, dy], sliceSpacing, depth: whole } = this.#refs[0];
    const indices = this.#refs.map(({ index }) => index);
    const first = Math.min(...indices);
    const depth = Math.max(...indices) - first + 1;
    const stack = (slices: ReadonlyMap<number, Uint8Array>) => {
      const volume = new Uint8Array(width * height * depth);
      for (const [index, mask] of slices) volume.set(mask, (index - first) * width * height);
      return volume;
    };
    const truth = stack(this.#truths);
    const grid = {
      level: "case",
      part: this.#refs.length < whole,
      openEnds: true,
      shape: [width, height, depth],
      spacing: [dx, dy, sliceSpacing],
    } as const;
    return Object.fromEntries(prompts.flatMap((prompt) => {
      const masks = this.#predictions.get(prompt);
      return masks ? [[prompt, scoreMask(stack(masks), truth, grid)]] : [];
    }));
  }
}
