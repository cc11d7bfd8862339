import { basename } from "node:path";
import { adapterWeights } from "../adapters/adapter.ts";
import { applyAdapter } from "../adapters/apply_adapter.ts";
import type { SliceRef } from "../data/slices.ts";
import { Thumbnails } from "../data/thumbnails.ts";
import { InputError } from "../errors.ts";
import type { PresenceRule } from "../evaluate/presence.ts";
import { loadSam, weightsFile } from "../files/pretrained.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { trainingSlices } from "../predict/recipe.ts";
import type { Sam } from "../sam/sam.ts";
import { openAdapter, ownWeights, presenceRule, readOrigin, requireBase } from "./adapter.ts";
import { displayName, type Experiment } from "./experiment.ts";
import { buildModel, restoreWeights } from "./model.ts";
import type { Origin } from "./results.ts";
import { type Config, DEFAULTS, parseConfig } from "./schema.ts";

/** Model to score, as a command line names it. */
export interface ScoredModel {
  /** As tables call it. */
  readonly name: string;
  /** Experiment that trained it, if it is known. */
  readonly experiment: Experiment | null;
  /** Patients that it was trained on, if they are known. */
  readonly split: Origin["split"] | null;
  /** Thumbnails of the slices that it was trained on; null if they are not known. */
  readonly seen: Thumbnails | null;
  /** Rule by which its masks without a prompt count; null if it has none. */
  readonly rule: PresenceRule | null;
  /** Its model and the preparation of its input. */
  readonly config: Config;
  /** Builds it, with its weights. */
  build(gpu: Gpu, config: Config): Promise<Sam>;
}

/**
 * Opens the model that a command line names: `vanilla`, or an adapter with the values that it was trained with.
 *
 * @param overrides Values that the command line gives.
 * @throws {InputError} if it is no adapter, or needs weights or a model that are not named.
 */
export async function openScoredModel(
  path: string,
  overrides: Partial<Config>,
): Promise<ScoredModel> {
  const config = { ...DEFAULTS, ...overrides };
  if (path === "vanilla") {
    const experiment: Experiment = { name: "vanilla", kind: "vanilla" };
    const name = displayName(experiment);
    const seen = new Thumbnails(new Uint8Array());
    return { name, experiment, split: null, seen, rule: null, config, build: loadSam };
  }
  const adapter = await openAdapter(path);
  const origin = await readOrigin(path, adapter);
  const seen = trainingSlices(adapter);
  if (!origin) {
    return {
      name: basename(path),
      experiment: null,
      split: null,
      seen,
      rule: null,
      config,
      build: async (gpu, config) => {
        await requireBase(adapter, await weightsFile(config));
        const sam = await loadSam(gpu, config);
        await applyAdapter(sam, adapter);
        return sam;
      },
    };
  }
  const { experiment, split } = origin;
  const trained = parseConfig(origin.config, path);
  if (overrides.weights === undefined) ownWeights(path, trained);
  if (overrides.model !== undefined && overrides.model !== trained.model) {
    throw new InputError(`${path} was trained on ${trained.model}: leave out --model`);
  }
  return {
    name: displayName(experiment),
    experiment,
    split,
    seen,
    rule: presenceRule(origin),
    config: { ...trained, ...overrides },
    build: async (gpu, config) => {
      await requireBase(adapter, await weightsFile(config));
      const sam = await buildModel(gpu, { experiment, config });
      restoreWeights(sam, adapterWeights(adapter), path);
      return sam;
    },
  };
}

/**
 * Slices of patients that the model was neither trained nor chosen on, as far as that is known.
 *
 * @throws {InputError} if there are none.
 */
export function unseenSlices(
  refs: readonly SliceRef[],
  { path, model: { experiment, split }, log }: {
    path: string;
    model: ScoredModel;
    log: (line: string) => void;
  },
): readonly SliceRef[] {
  if (experiment === null) {
    log("An adapter does not say which patients it was trained on: scored on all.");
  }
  if (split === null) return refs;
  const seen = new Set([...split.train, ...split.validation]);
  const unseen = refs.filter(({ patient }) => !seen.has(patient));
  if (unseen.length === 0) {
    throw new InputError(
      `${path} was trained on every patient of this data set: score it on other patients`,
    );
  }
  const count = refs.length - unseen.length;
  if (count > 0) {
    log(
      `Left out: ${count} slice${
        count === 1 ? "" : "s"
      } of patients that the run was trained or chosen on.`,
    );
  }
  return unseen;
}
