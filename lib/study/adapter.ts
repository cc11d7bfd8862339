import { createHash } from "node:crypto";
import { join } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import { GuardError } from "../evaluate/guards.ts";
import type { Adapter } from "../adapters/adapter.ts";
import { loadAdapter } from "./adapter_folder.ts";
import { readLegacyAdapter } from "../adapters/legacy.ts";
import { openWeights } from "../sam/open_weights.ts";
import type { Config } from "./schema.ts";
import { describeWeights } from "./environment.ts";
import { readRun } from "./run_folder.ts";

/** Metadata of an adapter's file that name its origin: the run, and the pretrained weights. */
const RUN = "samlora_run";
const BASE = "samlora_base";

/** Identity of weights: a file's SHA-256, whatever its name, or a package with its version. */
function identity(weights: string): string {
  return /sha256 [0-9a-f]+/.exec(weights)?.[0] ?? weights;
}

/** Values of a config that change no bit of what is trained. */
const FREE = ["cacheMemory", "cacheDisk", "checkpointActivations"];

/** The SHA-256 of what a run's config.json says of its experiment and config. */
function runHash({ experiment, config }: { experiment: unknown; config: unknown }): string {
  const entries = Object.entries(config ?? {}).filter(([field]) => !FREE.includes(field));
  return createHash("sha256").update(JSON.stringify({ experiment, entries })).digest("hex");
}

/**
 * An adapter whose file says what run made it, on which pretrained weights.
 *
 * @param run What config.json holds.
 * @param weights As the environment describes them.
 */
export function signAdapter(
  adapter: Adapter,
  run: { experiment: unknown; config: unknown },
  weights: string,
): Adapter {
  const metadata = { ...adapter.metadata, [RUN]: runHash(run), [BASE]: identity(weights) };
  return { ...adapter, metadata };
}

/**
 * Checks that an adapter was trained on the weights that it is used with. One that does not say is taken
 * as it is.
 *
 * @param weights Their file; null for those of the package.
 * @throws {GuardError} if it was trained on others.
 */
export async function requireBase(adapter: Adapter, weights: string | null): Promise<void> {
  const trainedOn = adapter.metadata[BASE];
  if (trainedOn === undefined) return;
  const used = identity(await describeWeights(weights));
  if (used === trainedOn) return;
  throw new GuardError(
    "foreign-adapter",
    `${adapter.source} was trained on other weights (${
      excerpt(trainedOn)
    }) than those it is used ` +
      `with (${used}), so that its masks would mean nothing: name its own weights with --weights`,
  );
}

/** Refuses an adapter in the folder of a run that another run has trained. */
async function requireOwn(adapter: Adapter, folder: string): Promise<void> {
  const trainedBy = adapter.metadata[RUN];
  const text = await Deno.readTextFile(join(folder, "config.json")).catch(() => null);
  if (trainedBy === undefined || text === null) return;
  let hash: string | null = null;
  try {
    hash = runHash(JSON.parse(text));
  } catch {
    // Whoever reads the config says that it is damaged.
  }
  if (hash === null || hash === trainedBy) return;
  throw new GuardError(
    "foreign-adapter",
    `${adapter.source} holds an adapter that another run has trained than the one ${folder} ` +
      `describes, so that its scores would be of another task: put the run's own adapter back`,
  );
}

/**
 * Reads an adapter from what the command line names: a PEFT folder, the folder of a run, or a flat file
 * of Sam_LoRA or SAMed.
 *
 * @throws {InputError} if it is none of these, or damaged.
 * @throws {GuardError} if it is the folder of a run with the adapter of another.
 */
export async function openAdapter(path: string): Promise<Adapter> {
  const isFile = await Deno.stat(path).then((entry) => entry.isFile, () => null);
  if (isFile) {
    using file = openWeights(path);
    return await readLegacyAdapter(file);
  }
  for (const folder of [path, join(path, "adapter")]) {
    const found = await Deno.stat(join(folder, "adapter_model.safetensors")).catch(() => null);
    if (!found) continue;
    const adapter = await loadAdapter(folder);
    await requireOwn(adapter, path);
    return adapter;
  }
  throw new InputError(
    `${path} holds no adapter: name a PEFT folder, the folder of a run, or a file of Sam_LoRA`,
  );
}

/**
 * Config of the run whose folder is the path of an adapter; null if it is no run's folder.
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
