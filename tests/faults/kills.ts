import { join } from "node:path";
import { Random } from "../../lib/random.ts";
import type { TinyStudy } from "./tiny_study.ts";

/** A study that had ended before it could be killed. */
export const WHOLE = "nothing: it was whole";

/** What a kill hit. */
export type Moment =
  | "before the study's folder"
  | "before a checkpoint"
  | "in training"
  | "after training"
  | typeof WHOLE;

/**
 * Kills a tiny study at a random moment, goes on with it and asserts that what comes of it is what the
 * undisturbed one came to. Kills with odd numbers come at a random time of its life, most of which a
 * driver for CPUs spends on compiling kernels; those with even numbers in the second after a random
 * checkpoint.
 *
 * @returns what the kill hit.
 */
export async function killOnce(study: TinyStudy, number: number): Promise<Moment> {
  const out = `killed-${number}`;
  const folder = join(study.folder, out);
  const random = new Random(`kill ${number}`);
  const start = performance.now();
  let end = 0;
  const running = study.begin(out);
  running.outcome.then(() => end = performance.now());
  if (number % 2 === 1) {
    await pause(1000 * study.seconds * random.uniform());
  } else {
    const checkpoint = `00000${1 + random.int(CHECKPOINTS)}.safetensors`;
    while (!end && !names(folder, "lora_2", "checkpoint")?.includes(checkpoint)) await pause(5);
    await pause(1000 * random.uniform());
  }
  try {
    running.process.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
  await running.outcome;
  const moment = momentOf(folder);
  // A machine that others use is now faster, now slower: the times follow.
  study.seconds = moment === WHOLE ? (end - start) / 1000 : 1.03 * study.seconds;
  await study.complete(out);
  return moment;
}

/** Checkpoints of the tiny study: three steps and the end of each of two epochs. */
const CHECKPOINTS = 8;

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** Names in a folder; null if it is not there. */
function names(...path: string[]): string[] | null {
  try {
    return [...Deno.readDirSync(join(...path))].map(({ name }) => name);
  } catch {
    return null;
  }
}

function momentOf(folder: string): Moment {
  const study = names(folder);
  if (!study) return "before the study's folder";
  if (!study.includes("resume.json")) {
    return study.includes("table.json") ? WHOLE : "before the study's folder";
  }
  const run = names(folder, "lora_2") ?? [];
  if (run.includes("adapter")) return "after training";
  const checkpoints = names(folder, "lora_2", "checkpoint") ?? [];
  return checkpoints.some((name) => name.endsWith(".safetensors"))
    ? "in training"
    : "before a checkpoint";
}
