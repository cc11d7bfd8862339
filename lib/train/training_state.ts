import { checkHostState, type HostTensor } from "../nn/host_state.ts";
import { adapterLayers } from "../adapters/adapter_layer.ts";
import type { Shape } from "../tensor/shape.ts";
import type { Sam } from "../sam/sam.ts";
import { areFinite, GuardError, type GuardState } from "./guards.ts";
import type { Adam } from "./optimizer.ts";
import type { EpochMetrics } from "./trainer.ts";
import type { WeightAverage } from "./weight_average.ts";

/** How far a training is, but for its tensors: numbers that JSON keeps as they are. */
export interface TrainingPosition {
  /** The epoch under way, from 1. */
  readonly epoch: number;
  /** Its batches that are done; all of them if its validation comes next. */
  readonly batch: number;
  /** Optimiser steps of all epochs: where the schedule and Adam stand. */
  readonly step: number;
  /** Sums over the slices done in this epoch. */
  readonly sums: { readonly loss: number; readonly dice: number };
  /** Seconds spent on them. */
  readonly seconds: number;
  /** Learning rate of the last step. */
  readonly learningRate: number;
  /** State of the stream that flips and prompts are drawn from. */
  readonly random: readonly number[];
  /** Dropout masks drawn, by path of the adapted layer. */
  readonly dropouts: Readonly<Record<string, number>>;
  /** What the guards remember. */
  readonly guards: GuardState;
  /** The most device memory that the training held at a time, in bytes. */
  readonly peakGpuBytes: number;
  /** The epochs that are done. */
  readonly epochs: readonly EpochMetrics[];
  /** The best of them; epoch 0 if there is none. */
  readonly best: { readonly epoch: number; readonly dice: number };
}

/**
 * All that a training needs to go on as if it had never stopped: what it was given decides the rest
 * (split, order, schedule).
 */
export interface TrainingState {
  /** The numbers. */
  readonly position: TrainingPosition;
  /**
   * For each trainable weight: `weights.<path>`, Adam's moments `adam.m.<path>` and `adam.v.<path>`,
   * its average `ema.<path>` if one is taken, and, once an epoch is done, `best.<path>`.
   */
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** What a state is read from and written to. */
interface Trained {
  readonly sam: Sam;
  readonly optimizer: Adam;
  /** The weights' moving average, if one is taken. */
  readonly average: WeightAverage | null;
  /** The best epoch's weights, in the order of the trainable ones; empty before the first. */
  readonly bestWeights: readonly Float32Array[];
}

/** Dropout masks that a model's adapters have drawn, by path of the adapted layer. */
export function dropoutsOf(sam: Sam): TrainingPosition["dropouts"] {
  return Object.fromEntries(
    [...adapterLayers(sam)].map(([path, { dropouts }]) => [path, dropouts]),
  );
}

/**
 * Reads a training's tensors.
 *
 * @throws {GuardError} if a weight is no longer a finite number.
 */
export async function captureState(
  { sam, optimizer, average, bestWeights }: Trained,
  position: TrainingPosition,
): Promise<TrainingState> {
  const parameters = sam.trainableParameters();
  const [{ moments }, weights, averages] = await Promise.all([
    optimizer.state(),
    Promise.all(parameters.map(([, tensor]) => tensor.data())),
    Promise.all(average?.tensors.map((tensor) => tensor.data()) ?? []),
  ]);
  const tensors = new Map<string, HostTensor>();
  parameters.forEach(([path, { shape }], i) => {
    if (!areFinite(weights[i])) {
      throw new GuardError(
        "non-finite",
        `${path} is not finite after step ${position.step}: lower the learning rate`,
        position.step,
      );
    }
    tensors.set(`weights.${path}`, { shape, data: weights[i] });
    tensors.set(`adam.m.${path}`, { shape, data: moments[i].m });
    tensors.set(`adam.v.${path}`, { shape, data: moments[i].v });
    if (average) tensors.set(`ema.${path}`, { shape, data: averages[i] });
    if (bestWeights.length > 0) tensors.set(`best.${path}`, { shape, data: bestWeights[i] });
  });
  return { position, tensors };
}

/**
 * Puts a state back into a model that was built for the same training and into its new optimiser.
 *
 * @returns the best epoch's weights, in the order of the trainable ones.
 * @throws {InputError} if the state is another model's.
 */
export function restoreState(
  { sam, optimizer, average }: Omit<Trained, "bestWeights">,
  { position, tensors }: TrainingState,
): Float32Array[] {
  const parameters = sam.trainableParameters();
  const kinds = [
    "weights",
    "adam.m",
    "adam.v",
    ...(average ? ["ema"] : []),
    ...(position.best.epoch > 0 ? ["best"] : []),
  ];
  const shapes = new Map<string, Shape>(
    kinds.flatMap((kind) =>
      parameters.map(([path, { shape }]) => [`${kind}.${path}`, shape] as const)
    ),
  );
  checkHostState(tensors, shapes, { source: "the checkpoint" });
  const read = (kind: string) => parameters.map(([path]) => tensors.get(`${kind}.${path}`)!.data);
  read("weights").forEach((data, i) => parameters[i][1].write(data));
  if (average) read("ema").forEach((data, i) => average.tensors[i].write(data));
  const [m, v] = [read("adam.m"), read("adam.v")];
  optimizer.restore({
    steps: position.step,
    moments: m.map((first, i) => ({ m: first, v: v[i] })),
  });
  for (const [path, layer] of adapterLayers(sam)) layer.dropouts = position.dropouts[path] ?? 0;
  return position.best.epoch > 0 ? read("best") : [];
}
