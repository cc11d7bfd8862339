import { crc32 } from "node:zlib";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import {
  encodeSafetensors,
  rawTensors,
  type Safetensors,
  toStateDict,
} from "../formats/safetensors.ts";
import { adapterLayers } from "../adapters/adapter_layer.ts";
import { guardError } from "../evaluate/guards.ts";
import { checkHostState, checkValues, type HostTensor, LARGEST } from "../nn/host_state.ts";
import type { Sam } from "../sam/sam.ts";
import type { Shape } from "../tensor/shape.ts";
import { areFinite, type GuardState } from "./guards.ts";
import type { EpochMetrics, Training } from "./training.ts";

/** Position within an epoch: numbers that JSON keeps as they are. */
export interface EpochPosition {
  /** The epoch under way, from 1. */
  readonly epoch: number;
  /** Its batches that are done; all of them if its validation comes next. */
  readonly batch: number;
  /** Optimizer steps of all epochs: where the schedule and Adam stand. */
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
  /** State of the guards. */
  readonly guards: GuardState;
}

/** State of a training but for its tensors: numbers that JSON keeps as they are. */
export interface TrainingPosition extends EpochPosition {
  /** State of the loss's scale; null if it has none. */
  readonly scaler: readonly number[] | null;
  /** Most device memory that the training held at a time, in bytes. */
  readonly peakGpuBytes: number;
  /** Metrics of the epochs that are done. */
  readonly epochs: readonly EpochMetrics[];
  /** The best of them; epoch 0 if there is none. */
  readonly best: { readonly epoch: number; readonly dice: number };
}

/**
 * State of a training, from which it continues as if it had never stopped; data and options decide the
 * rest (split, order, schedule).
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

/** Dropout masks that a model's adapters have drawn, by path of the adapted layer. */
export function dropoutsOf(sam: Sam): EpochPosition["dropouts"] {
  return Object.fromEntries(
    [...adapterLayers(sam)].map(([path, { dropouts }]) => [path, dropouts]),
  );
}

/**
 * Reads a training's tensors back.
 *
 * @throws {GuardError} if a weight is no longer a finite number.
 */
export async function captureState(
  training: Training,
  position: EpochPosition,
): Promise<TrainingState> {
  const { plan: { parameters }, optimizer, average, bestWeights, epochs, best } = training;
  const { peakGpuBytes } = training;
  const [{ moments }, scaler = null, weights, averages] = await Promise.all([
    optimizer.state(),
    training.scaler?.state(),
    training.weights(),
    Promise.all(average?.tensors.map((tensor) => tensor.data()) ?? []),
  ]);
  const tensors = new Map<string, HostTensor>();
  parameters.forEach(([path, { shape }], i) => {
    if (!areFinite(weights[i])) {
      const { step } = position;
      const remedy = "lower the learning rate";
      throw guardError("non-finite", { what: path, step, remedy }, step);
    }
    tensors.set(`weights.${path}`, { shape, data: weights[i] });
    tensors.set(`adam.m.${path}`, { shape, data: moments[i].m });
    tensors.set(`adam.v.${path}`, { shape, data: moments[i].v });
    if (average) tensors.set(`ema.${path}`, { shape, data: averages[i] });
    if (bestWeights.length > 0) tensors.set(`best.${path}`, { shape, data: bestWeights[i] });
  });
  const numbers = { ...position, scaler, peakGpuBytes, epochs: [...epochs], best };
  return { position: numbers, tensors };
}

/**
 * Puts a state back into a training that was built anew for the same model, data and options.
 *
 * @throws {InputError} if the state is another model's.
 */
export function restoreState(training: Training, { position, tensors }: TrainingState): void {
  const { plan: { parameters }, optimizer, average, model } = training;
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
  if (position.scaler) training.scaler?.restore(position.scaler);
  for (const [path, layer] of adapterLayers(model.sam)) {
    layer.dropouts = position.dropouts[path] ?? 0;
  }
  if (position.best.epoch > 0) training.bestWeights = read("best");
}

/** Counts up whenever the numbers or tensors of a state change their meaning. */
const STATE_VERSION = "3";

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const numbers32 = v.array(v.pipe(v.number(), v.safeInteger()));

/** {@linkcode TrainingPosition} as JSON; the type checker finds a field that one of them lacks. */
const positionSchema: v.GenericSchema<unknown, TrainingPosition> = v.strictObject({
  epoch: v.pipe(count, v.minValue(1)),
  batch: count,
  step: count,
  sums: v.strictObject({ loss: v.number(), dice: v.number() }),
  seconds: v.number(),
  learningRate: v.number(),
  random: v.pipe(numbers32, v.length(4)),
  dropouts: v.record(v.string(), count),
  guards: v.strictObject({
    probed: v.boolean(),
    changed: v.boolean(),
    zeroNorms: count,
    skipped: v.optional(count, 0), // states of older versions have none
    firstLosses: v.array(v.number()),
    high: count,
    large: v.array(v.number()),
    ones: count,
    onesEpochs: count,
    firstOutput: v.nullable(v.strictObject({ hash: v.number(), step: count })),
  }),
  scaler: v.optional(v.nullable(v.pipe(v.array(v.number()), v.length(4))), null),
  peakGpuBytes: count,
  epochs: v.array(v.strictObject({
    epoch: v.pipe(count, v.minValue(1)),
    trainLoss: v.number(),
    trainDice: v.number(),
    validationLoss: v.number(),
    validationDice: v.number(),
    learningRate: v.number(),
    steps: count,
    seconds: v.number(),
  })),
  best: v.strictObject({ epoch: count, dice: v.number() }),
});

/** CRC-32 of the numbers and of the tensors' bytes, by name. */
function checksum(position: string, tensors: TrainingState["tensors"]): string {
  let crc = crc32(position);
  for (const [, { data }] of [...tensors].sort(([a], [b]) => a < b ? -1 : 1)) {
    crc = crc32(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), crc);
  }
  return crc.toString(16);
}

/**
 * State as a safetensors file whose metadata hold the numbers and a checksum of all.
 *
 * @param state.position The numbers as JSON.
 */
export function encodeState(
  { position, tensors }: { position: string; tensors: TrainingState["tensors"] },
): Uint8Array {
  const metadata = { version: STATE_VERSION, position, crc32: checksum(position, tensors) };
  return encodeSafetensors(rawTensors(tensors), { metadata });
}

/**
 * Reads a state back from a safetensors file.
 *
 * @param source Name of the file, for messages.
 * @throws {InputError} if it is damaged, of another version, or a tensor holds no sound numbers.
 */
export function decodeState(file: Safetensors, source: string): TrainingState {
  const { version, position, crc32: expected } = file.metadata;
  const tensors = toStateDict(file);
  if (version !== STATE_VERSION || checksum(position ?? "", tensors) !== expected) {
    throw new InputError(`${source} is damaged or of another version: the one before it is used`);
  }
  for (const [name, { data }] of tensors) {
    checkValues(data, { name, source, limit: LARGEST.weights });
  }
  let value: unknown = null;
  try {
    value = JSON.parse(position);
  } catch {
    // Written by another program.
  }
  const parsed = v.safeParse(positionSchema, value);
  if (!parsed.success) {
    const place = v.getDotPath(parsed.issues[0]) ?? "its start";
    throw new InputError(`${source} is damaged at ${excerpt(place)} of its position`);
  }
  return { position: parsed.output, tensors };
}
