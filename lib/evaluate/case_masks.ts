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
   * of others there are Dice and IoU alone. The volume of a 2D scan is its one slice: as usual for such
   * scans its boundary is the outline in the plane, distances and tolerances are mm by the spacing of
   * the pixels, and there are no surfaces above and below it, which would make all of the mask boundary.
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
      shape: [width, height, depth],
      spacing: [dx, dy, sliceSpacing],
    } as const;
    return Object.fromEntries(prompts.flatMap((prompt) => {
      const masks = this.#predictions.get(prompt);
      return masks ? [[prompt, scoreMask(stack(masks), truth, grid)]] : [];
    }));
  }
}
