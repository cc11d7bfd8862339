import { parseTensorName } from "../adapters/methods.ts";
import type { StateDict } from "../formats/state_dict.ts";

/**
 * Draws trained weights back towards the pretrained ones, (1 - alpha) pretrained + alpha trained: what
 * training has gained mostly stays, and what it has forgotten of other images comes back. An adapter's
 * update is nothing before training, and proportional to one of its tensors (LoRA's B), which alone
 * carries its share.
 *
 * Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), eq. 1.
 *
 * @param weights.pretrained What the trained weights were before training, under the same names.
 * @param weights.trained Trained weights and adapters, but for PiSSA's, whose update starts from something.
 * @param alpha The trained weights' share: 1 leaves them as they are.
 * @throws {RangeError} if a weight of the two differs in size or is missing.
 */
export function wiseFt(
  { pretrained, trained }: { pretrained: StateDict; trained: StateDict },
  alpha: number,
): StateDict {
  return new Map([...trained].map(([name, { shape, data }]) => {
    const start = parseTensorName(name)?.tensor.start;
    if (start === "random") return [name, { shape, data }];
    const before = start === "zero" ? null : pretrained.get(name)?.data;
    if (before !== null && before?.length !== data.length) {
      throw new RangeError(`${name} is not the same in the pretrained weights`);
    }
    const drawn = data.map((value, i) => (1 - alpha) * (before?.[i] ?? 0) + alpha * value);
    return [name, { shape, data: drawn }];
  }));
}
