/**
 * Checkpoints of a training: safetensors files whose metadata hold the numbers beside the tensors and
 * a checksum of both. A folder keeps the newest and the one before it.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { join } from "node:path";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import type { HostTensor } from "../nn/host_state.ts";
import { encodeSafetensors, readSafetensors, toStateDict } from "../formats/safetensors.ts";
import type { TrainingPosition, TrainingState } from "./resume.ts";

/** Counts up whenever a checkpoint's numbers or tensors change their meaning. */
export const CHECKPOINT_VERSION = "3";

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const numbers32 = v.array(v.pipe(v.number(), v.safeInteger()));

/** A position as {@linkcode TrainingPosition} has it: the type checker finds a field that one of them lacks. */
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
    firstLosses: v.array(v.number()),
    high: count,
    large: v.array(v.number()),
    ones: count,
    onesEpochs: count,
    firstOutput: v.nullable(v.strictObject({ hash: v.number(), step: count })),
  }),
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

/** Checkpoints that a folder keeps. */
const KEPT = 2;

/** The checkpoints of a folder by their numbers, newest first; none if there is no folder. */
async function numbers(folder: string): Promise<number[]> {
  const found: number[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      const number = /^(\d{6,})\.safetensors$/.exec(name)?.[1];
      if (number) found.push(Number(number));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found.sort((a, b) => b - a);
}

function fileOf(folder: string, number: number): string {
  return join(folder, `${String(number).padStart(6, "0")}.safetensors`);
}

/** CRC-32 of the numbers and of the tensors' bytes, by name. */
export function checksum(position: string, tensors: ReadonlyMap<string, HostTensor>): string {
  let crc = crc32(position);
  for (const [, { data }] of [...tensors].sort(([a], [b]) => a < b ? -1 : 1)) {
    crc = crc32(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), crc);
  }
  return crc.toString(16);
}

/**
 * Writes a checkpoint beside the newest one of a folder, and then removes older ones.
 *
 * @throws {InputError} if it cannot be written; the ones before it are then kept.
 */
export async function writeCheckpoint(folder: string, state: TrainingState): Promise<void> {
  const [newest = 0] = await numbers(folder);
  const position = JSON.stringify(state.position);
  const bytes = encodeSafetensors(new Map(state.tensors), {
    metadata: {
      version: CHECKPOINT_VERSION,
      position,
      crc32: checksum(position, state.tensors),
    },
  });
  await writeFileAtomic(fileOf(folder, newest + 1), bytes);
  for (const number of (await numbers(folder)).slice(KEPT)) {
    await Deno.remove(fileOf(folder, number));
  }
}

/** What {@linkcode readCheckpoint} found. */
export interface FoundCheckpoint {
  /** The newest state that is sound. */
  readonly state: TrainingState;
  /** Why newer files were passed over: a sentence for each. */
  readonly damaged: readonly string[];
}

/**
 * Reads the newest checkpoint of a folder that is sound; null if the folder has none.
 *
 * @throws {InputError} if every one of them is damaged.
 */
export async function readCheckpoint(folder: string): Promise<FoundCheckpoint | null> {
  const damaged: string[] = [];
  for (const number of await numbers(folder)) {
    try {
      return { state: await readState(fileOf(folder, number)), damaged };
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      damaged.push(error.message);
    }
  }
  if (damaged.length === 0) return null;
  throw new InputError(
    `no checkpoint in ${folder} is sound: remove that folder to train this run from its start`,
  );
}

async function readState(path: string): Promise<TrainingState> {
  const file = await readSafetensors(path);
  const { version, position, crc32: expected } = file.metadata;
  const tensors = toStateDict(file);
  if (version !== CHECKPOINT_VERSION || checksum(position ?? "", tensors) !== expected) {
    throw new InputError(`${path} is damaged or of another version: the one before it is used`);
  }
  let value: unknown = null;
  try {
    value = JSON.parse(position);
  } catch {
    // No text of ours.
  }
  const parsed = v.safeParse(positionSchema, value);
  if (!parsed.success) {
    const place = v.getDotPath(parsed.issues[0]) ?? "its start";
    throw new InputError(`${path} is damaged at ${excerpt(place)} of its position`);
  }
  return { position: parsed.output, tensors };
}

/** Removes a folder's checkpoints, once they are needed no more. */
export async function removeCheckpoints(folder: string): Promise<void> {
  for (const number of await numbers(folder)) await Deno.remove(fileOf(folder, number));
}
