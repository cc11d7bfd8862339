import type { AugmentedSlice } from "../data/augment.ts";
import { Random } from "../random.ts";
import { fill } from "../tensor/ops/fill.ts";
import { concat, reshape } from "../tensor/ops/movement.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LossProbe } from "./guards.ts";
import type { Procedure } from "./procedure.ts";
import type { SliceModel } from "./slice_model.ts";

/** Logits at which everything is on. */
const SURE = 10;
const SURER = 20;

/**
 * Computes what a loss makes of wrong targets and masks, for a guard to look at. Nothing is read back.
 *
 * @param batch.logits [B, H, W], as the model gave them.
 * @returns null if a target is all tumour or none, which shuffling leaves as it is; else a function that
 * reads the figures.
 */
export async function probeLoss(
  model: SliceModel,
  samples: readonly AugmentedSlice[],
  { logits, target, criterion }: { logits: Tensor; target: Tensor } & Pick<Procedure, "criterion">,
): Promise<(() => Promise<LossProbe>) | null> {
  const shares = samples.map(({ slice: { mask } }) =>
    mask.reduce((sum, pixel) => sum + Number(pixel !== 0), 0) / mask.length
  );
  if (shares.some((share) => share === 0 || share === 1)) return null;
  const random = new Random("shuffled targets");
  const shuffled = samples.map(({ slice, variant }) => ({
    slice: { ...slice, mask: Uint8Array.from(random.shuffle([...slice.mask])) },
    variant,
  }));
  const detached = logits.detach();
  const { gpu, shape } = detached;
  const pairs = [
    [detached, target],
    [detached, model.target(shuffled)],
    [fill(gpu, shape, SURE), target],
    [fill(gpu, shape, SURER), target],
  ];
  const losses: Tensor[] = [];
  for (const [x, t] of pairs) {
    losses.push(reshape((await criterion(x, t, {})).detach(), [1]));
  }
  const figures = concat(losses, 0).keep();
  return async () => {
    using _ = figures;
    const [present, shuffled, on, surer] = await figures.data();
    return { present, shuffled, on, surer, truth: Math.max(...shares) };
  };
}
