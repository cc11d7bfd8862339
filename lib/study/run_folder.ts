import { join } from "node:path";
import { parseSplit, type Split } from "../data/split.ts";
import { InputError } from "../errors.ts";
import { type Config, parseConfig } from "./schema.ts";
import { type Experiment, parseExperiment } from "./experiment.ts";

/**
 * Reads what a finished run was.
 *
 * @throws {InputError} if the folder is not that of a run.
 */
export async function readRun(
  folder: string,
): Promise<{ experiment: Experiment; config: Config }> {
  const path = join(folder, "config.json");
  let value: { experiment?: unknown; config?: unknown } | null;
  try {
    value = JSON.parse(await Deno.readTextFile(path));
  } catch {
    throw new InputError(
      `${path} cannot be read: name the folder of a run, such as results/…/lora_16`,
    );
  }
  const experiment = parseExperiment(value?.experiment, path);
  return { experiment, config: parseConfig(value?.config, path) };
}

/**
 * Reads the patients that a run was trained, chosen and scored on.
 *
 * @throws {InputError} if they are not written down, or not soundly.
 */
export async function readSplit(folder: string): Promise<Split> {
  const path = join(folder, "split.json");
  let json: string;
  try {
    json = await Deno.readTextFile(path);
  } catch {
    throw new InputError(
      `${path} cannot be read, so it is not known which patients the run was trained on: name the folder of a whole run`,
    );
  }
  return parseSplit(json, path);
}
