import { drawPrompt, type Prompt, PROMPT_KINDS, type PromptKind } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { Random } from "../random.ts";

/** A kind of prompt, or a number of interactive clicks; one click is the kind `point`. */
export type ScoredPrompt = PromptKind | "clicks-3" | "clicks-5";

/** All prompts that the protocol scores under, in the order of tables. */
export const PROTOCOL: readonly ScoredPrompt[] = [
  ...PROMPT_KINDS.slice(0, -1),
  "clicks-3",
  "clicks-5",
  "whole-image",
];

/** Prompts that studies are about and score under by default, the study's own first. */
export const HEADLINE_PROMPTS = [
  "tight-box",
  "jittered-box",
  "point",
  "whole-image",
] as const satisfies readonly PromptKind[];

/** Prompts that are drawn without looking at the truth: all others give part of it away. */
export const AUTOMATIC_PROMPTS: readonly ScoredPrompt[] = ["whole-image"];

/** Prompt that a slice is scored under: it depends on the slice, its kind and the seed alone. */
export function evaluationPrompt(
  kind: PromptKind,
  slice: { ref: SliceRef; mask: Uint8Array },
  seed: number,
): Prompt {
  const { width, height, id } = slice.ref;
  const random = new Random(`${seed}/${kind}/${id}`);
  return drawPrompt(kind, { mask: slice.mask, width, height, random });
}
