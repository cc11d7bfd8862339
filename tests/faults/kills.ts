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
 * Kills a tiny study at a random moment of its life, goes on with it and asserts that what comes of it
 * is what the undisturbed one came to.
 *
 * @returns what the kill hit.
 */
export async function killOnce(study: TinyStudy, number: number): Promise<Moment> {
  const out = `killed-${number}`;
  const start = performance.now();
  let end = start;
  const running = study.begin(out);
  running.outcome.then(() => end = performance.now());
  await new Promise((done) =>
    setTimeout(done, 1000 * study.seconds * new Random(`kill ${number}`).uniform())
  );
  try {
    running.process.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
  await running.outcome;
  const moment = momentOf(join(study.folder, out));
  // A machine that others use is now faster, now slower: the moments follow.
  study.seconds = moment === WHOLE ? (end - start) / 1000 : 1.03 * study.seconds;
  await study.complete(out);
  return moment;
}

function momentOf(folder: string): Moment {
  const names = (...parts: string[]) => {
    try {
      return [...Deno.readDirSync(join(folder, ...parts))].map(({ name }) => name);
    } catch {
      return null;
    }
  };
  const study = names();
  if (!study) return "before the study's folder";
  if (!study.includes("resume.json")) {
    return study.includes("table.json") ? WHOLE : "before the study's folder";
  }
  const run = names("lora_2") ?? [];
  if (run.includes("adapter")) return "after training";
  const checkpoints = names("lora_2", "checkpoint") ?? [];
  return checkpoints.some((name) => name.endsWith(".safetensors"))
    ? "in training"
    : "before a checkpoint";
}
