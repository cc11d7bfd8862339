import type { AugmentedSlice } from "../data/augment.ts";
import { Random } from "../random.ts";
import { fill } from "../tensor/ops/fill.ts";
import { fingerprint } from "../tensor/ops/fingerprint.ts";
import { concat, reshape, slice } from "../tensor/ops/movement.ts";
import { Scope, tidy } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Guards } from "./guards.ts";
import type { Procedure } from "./procedure.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";

/** Logits at which everything is on. */
const SURE = 10;
const SURER = 20;

/**
 * Measurements on the device that guards look at once in a training: the loss of wrong targets and
 * masks, and hashes of the weights before the first step and after some.
 */
export class Probes implements Disposable {
  readonly #guards: Guards;
  readonly #parameters: readonly (readonly [path: string, tensor: Tensor])[];
  /** [parameters]: hashes before the first step. */
  #before: Tensor | null;
  /** [4]: the losses of a probe, with the largest share of tumour in its targets. */
  #losses: { readonly figures: Tensor; readonly truth: number } | null = null;

  /** Hashes the weights, if the guards have not compared them yet. */
  constructor(
    guards: Guards,
    parameters: readonly (readonly [path: string, tensor: Tensor])[],
  ) {
    this.#guards = guards;
    this.#parameters = parameters;
    this.#before = guards.wantsWeights ? this.#hashes().keep() : null;
  }

  /**
   * Computes the loss of wrong targets and masks, if it has not been yet; nothing is read back. Targets
   * that are all tumour or none are passed over, since shuffling leaves them as they are.
   *
   * @param batch.logits [B or more, H, W] of the model; the first B are compared.
   * @param batch.target [B, H, W]: the true masks of `samples`.
   */
  async probeLoss(
    model: SliceModel,
    samples: readonly AugmentedSlice[],
    { logits, target, criterion }:
      & { logits: Tensor; target: Tensor }
      & Pick<Procedure, "criterion">,
  ): Promise<void> {
    if (!this.#guards.wantsProbe || this.#losses) return;
    const shares = samples.map(({ slice: { mask } }) =>
      mask.reduce((sum, pixel) => sum + Number(pixel !== 0), 0) / mask.length
    );
    if (shares.some((share) => share === 0 || share === 1)) return;
    const random = new Random("shuffled targets");
    const shuffled = samples.map(({ slice, variant }) => ({
      slice: { ...slice, mask: Uint8Array.from(random.shuffle([...slice.mask])) },
      variant,
    }));
    const { gpu, shape } = target;
    const own = { axis: 0, start: 0, end: samples.length };
    const detached = slice(logits.detach(), own); // nothing is recorded for backward
    const pairs = [
      [detached, target],
      [detached, model.target(shuffled)],
      [fill(gpu, shape, SURE), target],
      [fill(gpu, shape, SURER), target],
    ];
    const losses: Tensor[] = [];
    for (const [x, t] of pairs) losses.push(reshape((await criterion(x, t, {})).detach(), [1]));
    this.#losses = { figures: concat(losses, 0).keep(), truth: Math.max(...shares) };
  }

  /** Tells the guards the losses of a probe, once. */
  async readLoss(): Promise<void> {
    if (!this.#losses) return;
    const { figures, truth } = this.#losses;
    const [present, shuffled, on, surer] = await figures.data();
    figures.dispose();
    this.#losses = null;
    this.#guards.loss({ present, shuffled, on, surer, truth });
  }

  /** Tells the guards the hashes of the weights before the first step and after `step` steps, once. */
  async readWeights(step: number): Promise<void> {
    if (!this.#before || this.#guards.haveSkipped(step)) return; // also before the first
    using _ = new Scope(this.#before.gpu);
    const values = await concat([this.#before, this.#hashes()], 0).data();
    this.#before.dispose();
    this.#before = null;
    const names = this.#parameters.map(([path]) => path);
    const before = values.subarray(0, names.length);
    this.#guards.weights(names, { before, after: values.subarray(names.length), step });
  }

  /** Hash of the bits of each weight: [parameters]. */
  #hashes(): Tensor {
    return tidy(this.#parameters[0][1].gpu, () =>
      concat(
        this.#parameters.map(([, tensor]) => fingerprint(reshape(tensor.detach(), [1, -1]))),
        0,
      ));
  }

  /** Frees what was not read. */
  [Symbol.dispose](): void {
    this.#before?.dispose();
    this.#losses?.figures.dispose();
  }
}
