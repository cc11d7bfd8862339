/**
 * Plan of a study: its rows, its parts (a training seed and a fold each), and all that must be the same
 * when it goes on. `resume.json` holds it as long as the study is not finished.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { readIfThere } from "../fs.ts";
import { countCandidates } from "./choice.ts";
import { type Config, configSchema } from "./schema.ts";
import { configOf, type Experiment, experimentSchema } from "./experiment.ts";
import { FILES } from "./results.ts";

/** File of the plan within a study's folder. */
export const PLAN = "resume.json";

const planSchema = v.strictObject({
  /** Every row that is trained or scored. */
  experiments: v.array(experimentSchema),
  /** With the paths of this machine. */
  config: configSchema,
  /** Seeds to train with one after the other; null for the config's alone. */
  seeds: v.nullable(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0)))),
  /** Seeds of further splits, each trained on with the first seed. */
  splitSeeds: v.optional(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0))), []),
  /** Slice or case whose masks are drawn; null for the test slice of median area. */
  sample: v.nullable(v.string()),
  /** Command that began the study. */
  command: v.string(),
  /** True if event files for TensorBoard are written. */
  tensorboard: v.boolean(),
  /** Minutes between checkpoints. */
  checkpointMinutes: v.number(),
  /** Seconds without a sign of life after which another machine may take a task over. */
  leaseSeconds: v.pipe(v.number(), v.gtValue(0)),
  /** Version and hash of the sources. */
  code: v.string(),
  /** Pretrained weights: a package with its version, or a file's SHA-256. */
  weights: v.string(),
  /** Each case's slices, by a hash of what training sees of them. */
  data: v.record(v.string(), v.string()),
  /** Machine that it was planned on; null if that has computed nothing. */
  machine: v.nullable(v.string()),
});

/** Plan of a study: enough to go on with it, and to see whether it would be the same. */
export type Plan = v.InferOutput<typeof planSchema>;

/** One training seed and fold of a study. */
export interface Part {
  /** Folder within the study's, such as `seed_0-fold_1`; empty where a study has one part. */
  readonly name: string;
  readonly config: Config;
  /**
   * Part of the first training seed on the same split: what was chosen there on validation patients is
   * trained here. Null where this part chooses itself.
   */
  readonly chosenBy: string | null;
}

/** Parts of a study: one for each training seed and fold, and one for each further split. */
export function partsOf(
  { config, seeds, splitSeeds }: {
    readonly config: Config;
    readonly seeds: readonly number[] | null;
    readonly splitSeeds: readonly number[];
  },
): Part[] {
  const folds = config.folds !== null && config.fold === null
    ? Array.from({ length: config.folds }, (_, i) => i + 1)
    : [config.fold];
  if (seeds === null && folds.length === 1 && splitSeeds.length === 0) {
    return [{ name: "", config, chosenBy: null }];
  }
  const training = seeds ?? [config.seed];
  const splitSeed = config.splitSeed ?? training[0];
  const part = (values: Pick<Config, "seed" | "splitSeed" | "fold">, ...names: string[]): Part => ({
    name: [`seed_${values.seed}`, ...names].join("-"),
    config: { ...config, ...values },
    chosenBy: values.seed === training[0] ? null : [`seed_${training[0]}`, ...names].join("-"),
  });
  return [
    ...training.flatMap((seed) =>
      folds.map((fold) => part({ seed, splitSeed, fold }, ...fold === null ? [] : [`fold_${fold}`]))
    ),
    ...splitSeeds.map((split) =>
      part({ seed: training[0], splitSeed: split, fold: null }, `split_${split}`)
    ),
  ];
}

/** A row of a study in one of its parts: what one process trains and scores. */
export interface PlannedTask {
  /** Counted from 1. */
  readonly number: number;
  readonly part: Part;
  readonly experiment: Experiment;
  /** Number of the task that chooses what this one trains; null if it depends on none. */
  readonly needs: number | null;
}

/** Tasks of a study, in the order in which one process runs them. */
export function tasksOf(
  plan: Parameters<typeof partsOf>[0] & Pick<Plan, "experiments">,
): PlannedTask[] {
  const { experiments } = plan;
  const parts = partsOf(plan);
  const numbers = new Map(parts.map(({ name }, i) => [name, i * experiments.length]));
  return parts.flatMap((part) =>
    experiments.map((experiment, row) => {
      const isChoice = experiment.kind !== "vanilla" &&
        countCandidates(configOf(experiment as Experiment, part.config)) > 1;
      return {
        number: numbers.get(part.name)! + row + 1,
        part,
        experiment: experiment as Experiment,
        needs: isChoice && part.chosenBy !== null ? numbers.get(part.chosenBy)! + row + 1 : null,
      };
    })
  );
}

/** File that lists a study's tasks, for people and schedulers. */
export const TASKS = "tasks.json";

/** Time and memory that a task is estimated to take; null where nothing was timed. */
export interface TaskEstimate {
  /** Seconds from its start to its end. */
  readonly seconds: number;
  /** Device memory in bytes. */
  readonly deviceBytes: number;
  /** Host memory in bytes, of a CPU device with its device memory. */
  readonly hostBytes: number;
}

/** Entry of `tasks.json`. */
export interface ListedTask {
  readonly task: number;
  readonly row: string;
  readonly part: string;
  readonly seed: number;
  readonly split: number;
  readonly fold: number | null;
  readonly needs: number | null;
  readonly estimate: TaskEstimate | null;
}

/** Reads `tasks.json`; null for a study that has none. */
export async function readTasksFile(folder: string): Promise<readonly ListedTask[] | null> {
  try {
    const value = JSON.parse(await Deno.readTextFile(join(folder, TASKS)));
    return Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** Text of `tasks.json`, a line a task. */
export function tasksJson(
  plan: Plan,
  estimate: { readonly tasks: readonly TaskEstimate[] } | null,
): string {
  const lines = tasksOf(plan).map(({ number, part, experiment, needs }): ListedTask => ({
    task: number,
    row: experiment.name,
    part: part.name,
    seed: part.config.seed,
    split: part.config.splitSeed ?? part.config.seed,
    fold: part.config.fold,
    needs,
    estimate: estimate?.tasks[number - 1] ?? null,
  }));
  return `[\n${lines.map((line) => JSON.stringify(line)).join(",\n")}\n]\n`;
}

/** Text of `resume.json`. */
export function planJson(plan: Plan): string {
  return JSON.stringify(plan, null, 2) + "\n";
}

/**
 * Reads the plan of the study in a folder; null if the study is finished.
 *
 * @throws {InputError} if the folder is not that of a study, or the plan is damaged.
 */
export async function readPlan(folder: string): Promise<Plan | null> {
  const path = join(folder, PLAN);
  const bytes = await readIfThere(path);
  if (bytes === null) {
    const isFinished = await Deno.stat(join(folder, FILES.table)).then(() => true, () => false);
    if (isFinished) return null;
    throw notAStudy(folder);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    value = null;
  }
  const result = v.safeParse(planSchema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new InputError(
    `${path} is damaged at ${
      excerpt(v.getDotPath(issue) ?? "its start")
    }: the study cannot go on, start it again`,
  );
}

/** The complaint about a folder that holds no study. */
export function notAStudy(folder: string): InputError {
  return new InputError(
    `${folder} is not the folder of a study that was begun: name one, such as results/…`,
  );
}
