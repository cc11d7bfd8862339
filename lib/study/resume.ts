/**
 * Checks of what must be the same when a study goes on: options, rows, code, weights and data.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { SliceSet } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import { weightsFile } from "../files/pretrained.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { isBegunHere, PATH_FIELDS } from "./begun.ts";
import { codeVersion, describeWeights } from "./environment.ts";
import { adapterExperiments } from "./experiment.ts";
import { type Config, optionDifferences, type Options } from "./schema.ts";
import { partsOf, type Plan } from "./plan.ts";
import type { StudyData } from "./study_data.ts";

/** The part of a plan that is found out, not chosen. */
export type Present = Pick<Plan, "code" | "weights" | "data" | "machine">;

/**
 * Code, weights and data that a study would be computed from now.
 *
 * @param gpu Null where nothing is computed.
 */
export async function present(
  gpu: Gpu | null,
  { config, data }: { config: Config; data: StudyData },
): Promise<Present> {
  return {
    code: await codeVersion(),
    weights: await describeWeights(await weightsFile(config)),
    data: dataHashes(config, data.slices),
    machine: gpu && machineOf(gpu),
  };
}

/** Device and software that decide about the last bits. */
export function machineOf({ info: { name, driver } }: Gpu): string {
  return `${name}, ${driver}, Deno ${Deno.version.deno}`;
}

/**
 * Hashes of the slices by case and, where a file of the user says whose the cases are, of that as
 * `--patients`: a change would mix the parts of a split.
 */
export function dataHashes(
  { patients }: Config,
  { dataset, fingerprints }: SliceSet,
): Record<string, string> {
  const slices = Object.fromEntries(fingerprints);
  if (patients === null) return slices;
  const groups = dataset.cases.map(({ id, patient }) => [id, patient]);
  const hash = createHash("sha256").update(JSON.stringify(groups)).digest("hex");
  return { ...slices, "--patients": hash.slice(0, 16) };
}

/**
 * Plan of a study that goes on with the options that the command line names.
 *
 * @throws {InputError} naming the first option that differs, unless `--force` is among them.
 */
export function changePlan(path: string, { begun, options }: {
  readonly begun: Plan;
  readonly options: Options;
}): Plan {
  const { givenRanks: ranks, encoderRanks, seeds, splitSeeds } = options;
  if (begun.experiments.some(({ wiseFt }) => wiseFt)) {
    throw new InputError(
      `${path} was begun by an earlier version, with rows of WiSE-FT that are made otherwise now: begin it again`,
    );
  }
  const config = { ...begun.config, ...options.given };
  const experiments = ranks === null ? begun.experiments : [
    ...begun.experiments.filter(({ kind }) => kind !== "lora"),
    ...adapterExperiments(config, { ranks, encoderRanks }),
  ];
  const plan: Plan = {
    ...begun,
    experiments: experiments as Plan["experiments"],
    config,
    seeds: seeds === null ? begun.seeds : [...seeds],
    splitSeeds: splitSeeds.length === 0 ? begun.splitSeeds : [...splitSeeds],
    checkpointMinutes: options.checkpointMinutes ?? begun.checkpointMinutes,
    leaseSeconds: options.leaseSeconds ?? begun.leaseSeconds,
  };
  const names = (list: readonly { readonly name: string }[]) => list.map(({ name }) => name).join();
  const others = names(experiments) === names(begun.experiments) ? [] : [`--ranks ${ranks}`];
  const parts = names(partsOf(plan)) === names(partsOf(begun))
    ? []
    : [seeds === null ? `--split-seeds ${splitSeeds}` : `--seeds ${seeds}`];
  refuse(path, {
    differences: [...others, ...parts, ...optionDifferences(begun.config, plan.config)],
    force: options.force,
  });
  return plan;
}

/**
 * Asks for the paths of a study that was not begun here: its record alone must not have any file read.
 *
 * @throws {InputError} naming the options that are missing.
 */
export function requireNamed(path: string, { begun, given }: {
  readonly begun: Plan;
  readonly given: Options["given"];
}): void {
  if (isBegunHere(path, begun.config)) return;
  const missing = PATH_FIELDS
    .filter((name) => begun.config[name] !== null && given[name] === undefined);
  if (missing.length === 0) return;
  throw new InputError(
    `${path} was begun elsewhere, or with another cache: name its ${missing.join(" and ")} by ${
      missing.map((name) => `--${name}`).join(" and ")
    }`,
  );
}

/**
 * Checks that a study goes on with the code, weights and data that it was begun with.
 *
 * @throws {InputError} naming the first that differs, unless forced.
 */
export function requirePresent(
  path: string,
  { begun, now, force }: { begun: Plan; now: Present; force: boolean },
): void {
  const hash = (weights: string) => /sha256 [0-9a-f]+/.exec(weights)?.[0] ?? weights;
  const differences: string[] = [];
  if (begun.code !== now.code) differences.push(`the code ${now.code} instead of ${begun.code}`);
  if (hash(begun.weights) !== hash(now.weights)) {
    differences.push(`the weights ${now.weights} instead of ${begun.weights}`);
  }
  const cases = [...new Set([...Object.keys(begun.data), ...Object.keys(now.data)])].sort();
  const changed = cases.filter((id) => begun.data[id] !== now.data[id]);
  if (changed.length > 0) {
    const [first] = changed;
    const how = !begun.data[first] ? "is new" : !now.data[first] ? "is missing" : "has changed";
    const more = changed.length > 1 ? ` and ${changed.length - 1} more differ` : "";
    differences.push(`the data set, of which ${first} ${how}${more}`);
  }
  refuse(path, { differences, force });
}

/** Refuses to go on with something else than what was begun, naming the first difference. */
function refuse(path: string, found: { differences: readonly string[]; force: boolean }): void {
  const { differences: [first, ...others], force } = found;
  if (first === undefined || force) return;
  const more = others.length > 0 ? ` (and ${others.length} more)` : "";
  throw new InputError(
    `${path} was begun with something else than ${first}${more}: go on with what it was begun with, or give --force`,
  );
}
