/**
 * Trained weights as studies leave them: PEFT folders whose tensors' file says what run made them, on
 * which pretrained weights and patients.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { openWeights } from "../formats/weights.ts";
import * as v from "valibot";
import { type Adapter, ADAPTER_FILES } from "../adapters/adapter.ts";
import { readLegacyAdapter } from "../adapters/legacy.ts";
import type { Thumbnails } from "../data/thumbnails.ts";
import { excerpt, InputError } from "../errors.ts";
import { LARGEST } from "../nn/host_state.ts";
import { GuardError } from "../evaluate/guards.ts";
import type { PresenceRule } from "../evaluate/presence.ts";
import { identityOf, METADATA, requireTrainedOn, runJson } from "../predict/recipe.ts";
import { loadAdapter } from "./adapter_folder.ts";
import { type Config, parseConfig } from "./schema.ts";
import { describeWeights } from "./environment.ts";
import { requireUnchanged } from "./manifest.ts";
import { checkFile, type Origin, originSchema, readJson } from "./results.ts";
import { openBytes } from "../fs.ts";

/**
 * An adapter whose file says what run made it, on which pretrained weights and slices.
 *
 * @param weights As the environment describes them.
 */
export function signAdapter(
  adapter: Adapter,
  { experiment, config, split, presence }: Origin,
  { weights, thumbnails }: { weights: string; thumbnails: Thumbnails },
): Adapter {
  const slices = Buffer.from(thumbnails.bytes).toString("base64");
  const own = {
    [METADATA.run]: JSON.stringify({ experiment, config, split, presence } satisfies Origin),
    [METADATA.base]: identityOf(weights),
    ...(slices !== "" && { [METADATA.slices]: slices }), // pictures without contrast have no thumbnail
  };
  return { ...adapter, metadata: { ...adapter.metadata, ...own } };
}

/**
 * Checks that an adapter was trained on the weights that it is used with. One that does not say is taken
 * as it is.
 *
 * @param weights Their file; null for those of the package.
 * @throws {GuardError} if it was trained on others.
 */
export async function requireBase(adapter: Adapter, weights: string | null): Promise<void> {
  if (adapter.metadata[METADATA.base] === undefined) return;
  requireTrainedOn(adapter, await describeWeights(weights));
}

/** The run that an adapter's file says it was trained by; null if it says nothing. */
function originOf(adapter: Adapter): Origin | null {
  const value = runJson(adapter);
  return value === null ? null : checkFile(originSchema, value, adapter.source);
}

/**
 * Checks that an adapter was trained by a run, and not by another.
 *
 * @throws {GuardError} if it was, or does not say.
 */
export function requireOrigin(adapter: Adapter, run: Origin): void {
  const text = (origin: Origin | null) =>
    origin && JSON.stringify([origin.experiment, origin.config, origin.split]);
  if (text(originOf(adapter)) === text(run)) return;
  throw new GuardError(
    "foreign-adapter",
    `${adapter.source} holds an adapter that another run has trained than ${run.experiment.name} of ` +
      `this study, so that its scores would be of another task: put the run's own adapter back`,
  );
}

/** Folder within `path` that holds an adapter; null if there is none. */
async function adapterFolder(path: string): Promise<string | null> {
  for (const folder of [path, join(path, "adapter")]) {
    const file = join(folder, ADAPTER_FILES.weights);
    if (await Deno.stat(file).then(() => true, () => false)) return folder;
  }
  return null;
}

/**
 * Reads an adapter from what the command line names: a PEFT folder, such as one of a study's `adapters`,
 * or a flat file of Sam_LoRA or SAMed.
 *
 * @throws {InputError} if it is none of these, damaged, or not as its study left it.
 */
export async function openAdapter(path: string): Promise<Adapter> {
  const isFile = await Deno.stat(path).then((entry) => entry.isFile, () => null);
  if (isFile) {
    using file = await openWeights(openBytes(path), { limit: LARGEST.adapter });
    return await readLegacyAdapter(file);
  }
  const folder = await adapterFolder(path);
  if (folder) {
    await requireUnchanged(folder);
    return await loadAdapter(folder);
  }
  throw new InputError(
    `${path} holds no adapter: name a PEFT folder, such as results/…/adapters/lora_16, or a file of Sam_LoRA`,
  );
}

/**
 * Reads what an adapter was trained by: from its own file, or from `config.json` and `split.json` beside
 * it, where earlier versions left them.
 *
 * @param path What {@linkcode openAdapter} was given.
 * @returns null if it does not say.
 * @throws {InputError} if what it says is damaged.
 */
export async function readOrigin(path: string, adapter: Adapter): Promise<Origin | null> {
  const origin = originOf(adapter);
  if (origin) return origin;
  const config = await readJson(v.looseObject({}), join(path, "config.json"));
  if (!config || !("experiment" in config)) return null;
  const split = await readJson(originSchema.entries.split, join(path, "split.json"));
  return checkFile(originSchema, { ...config, split }, path);
}

/**
 * Rule by which an adapter's masks without a prompt count, as its own file's metadata hold it (the field
 * `presence` of `samlora_run`: the name of the score, see `PRESENCE_SCORES`, and its threshold); null if it
 * has none.
 *
 * @param origin What {@linkcode readOrigin} has read.
 */
export function presenceRule(origin: Origin | null): PresenceRule | null {
  if (!origin?.presence) return null;
  const { score, threshold } = origin.presence;
  return { score, threshold };
}

/**
 * The config that an adapter was trained with; null if it does not say.
 *
 * @throws {InputError} if what it says is damaged.
 */
export async function runOf(path: string): Promise<Config | null> {
  const origin = await readOrigin(path, await openAdapter(path));
  return origin && parseConfig(origin.config, path);
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
