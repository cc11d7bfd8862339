import { join } from "node:path";
import { excerpt, InputError } from "../../lib/errors.ts";
import { type Adapter, loadAdapter } from "../../lib/weights/adapter.ts";
import { readLegacyLora } from "../../lib/weights/legacy_lora.ts";
import type { Config } from "./config.ts";
import { readRun } from "./run_folder.ts";

/**
 * Reads an adapter from what the command line names: a PEFT folder, the folder of a run, or a flat file
 * of Sam_LoRA or SAMed.
 *
 * @throws {InputError} if it is none of these, or damaged.
 */
export async function openAdapter(path: string): Promise<Adapter> {
  const isFile = await Deno.stat(path).then((entry) => entry.isFile, () => null);
  if (isFile) return await readLegacyLora(path);
  for (const folder of [path, join(path, "adapter")]) {
    const found = await Deno.stat(join(folder, "adapter_model.safetensors")).catch(() => null);
    if (found) return await loadAdapter(folder);
  }
  throw new InputError(
    `${path} holds no adapter: name a PEFT folder, the folder of a run, or a file of Sam_LoRA`,
  );
}

/**
 * What a run was trained with, if the path of an adapter is the folder of a run; else null.
 *
 * @throws {InputError} if the run's config is damaged.
 */
export async function runOf(path: string): Promise<Config | null> {
  const isRun = await Deno.stat(join(path, "config.json")).then(() => true, () => false);
  return isRun ? (await readRun(path)).config : null;
}

/**
 * The weights that a run is used with if the command line names none: the published ones, as null. A
 * file that the run's config names is never opened on its word.
 *
 * @throws {InputError} if the run was trained on a file.
 */
export function ownWeights(path: string, run: Config | null): null {
  if (!run || run.weights === null) return null;
  throw new InputError(
    `${path} was trained on the weights of ${excerpt(run.weights)}: name that file with --weights`,
  );
}
