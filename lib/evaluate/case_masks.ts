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

  /** Takes a slice and its masks by prompt; under prompts that it has none for it stays empty. */
  add({ ref, mask }: Slice, masks: ReadonlyMap<ScoredPrompt, Uint8Array>): void {
    this.#truths.set(ref.index, mask);
    for (const [prompt, prediction] of masks) {
      const own = this.#predictions.get(prompt) ?? new Map<number, Uint8Array>();
      this.#predictions.set(prompt, own.set(ref.index, prediction));
    }
  }

  /** Scores by prompt of the volume that reaches from the first to the last of the slices. */
  score(prompts: readonly ScoredPrompt[]): Partial<Record<ScoredPrompt, MaskScore>> {
    const { width, height, spacing: [dx, dy], sliceSpacing } = this.#refs[0];
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
      shape: [width, height, depth],
      spacing: [dx, dy, sliceSpacing],
    } as const;
    return Object.fromEntries(prompts.map((prompt) => {
      const prediction = stack(this.#predictions.get(prompt) ?? new Map());
      return [prompt, scoreMask(prediction, truth, grid)];
    }));
  }
}
