/**
 * Checkpoints of a training: safetensors files, of which a folder keeps the newest and the one before it.
 *
 * @module
 */
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { parseSafetensors } from "../formats/safetensors.ts";
import { readBytes, writeFileAtomic } from "../fs.ts";
import { decodeState, encodeState, type TrainingState } from "./resume.ts";

/** Checkpoints that a folder keeps. */
const KEPT = 2;

/** Numbers of a folder's checkpoints, newest first; none if there is no folder. */
async function numbers(folder: string): Promise<number[]> {
  const found: number[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      const number = /^(\d{6,})\.safetensors$/.exec(name)?.[1];
      if (number) found.push(Number(number));
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    const reason = (error as Error).message;
    throw new InputError(`cannot read the checkpoints in ${folder} (${reason}): remove it`);
  }
  return found.sort((a, b) => b - a);
}

function fileOf(folder: string, number: number): string {
  return join(folder, `${String(number).padStart(6, "0")}.safetensors`);
}

/**
 * Writes a checkpoint beside the newest one of a folder, and then removes older ones.
 *
 * @throws {InputError} if it cannot be written; the ones before it are then kept.
 */
export async function writeCheckpoint(folder: string, state: TrainingState): Promise<void> {
  const [newest = 0] = await numbers(folder);
  const bytes = encodeState({ ...state, position: JSON.stringify(state.position) });
  await writeFileAtomic(fileOf(folder, newest + 1), bytes);
  for (const number of (await numbers(folder)).slice(KEPT)) {
    await Deno.remove(fileOf(folder, number));
  }
}

/** Result of {@linkcode readCheckpoint}. */
export interface FoundCheckpoint {
  /** Newest state that is sound. */
  readonly state: TrainingState;
  /** A sentence for each newer file that was passed over, with the reason. */
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
      const path = fileOf(folder, number);
      return {
        state: decodeState(parseSafetensors(readBytes(path), { source: path }), path),
        damaged,
      };
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

/** Removes the checkpoints of a folder. */
export async function removeCheckpoints(folder: string): Promise<void> {
  for (const number of await numbers(folder)) await Deno.remove(fileOf(folder, number));
}
