import { basename, join } from "node:path";
import { InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import { mean } from "../stats/summary.ts";
import { GuardError } from "../evaluate/guards.ts";
import type { MaskScore } from "../metrics/mask_score.ts";
import type { ProtocolCase, ProtocolResult, ProtocolSlice } from "../evaluate/protocol.ts";
import { compareRows, type ComparisonTable } from "./comparison.ts";
import { compareScores, readScores, testsOf } from "./comparisons.ts";
import { displayName, type Experiment } from "./experiment.ts";
import { type CaughtRun, guardNotes, readGuard, requireNoneCaught } from "./guard_file.ts";
import { type Config, dataSeed, type Options } from "./schema.ts";
import { listJson, PRIMARY_PROMPT, type RunSummary, summarizeScores } from "./run_experiment.ts";
import type { Publish } from "./publish.ts";
import { named, resumeStudy, rowScores, runStudy, trivialRow } from "./study.ts";
import { SAMPLE } from "./study_data.ts";
import { PARTS, RECORD } from "./study_folder.ts";
import { judgeStudy } from "./verdicts.ts";

/** One study of a cross-validation. */
interface Part {
  /** Folder within the results. */
  readonly name: string;
  readonly config: Config;
}

/** The studies that the options ask for: one for each seed and fold. */
function partsOf({ config, seeds }: Options): Part[] {
  const folds = config.folds !== null && config.fold === null
    ? Array.from({ length: config.folds }, (_, i) => i + 1)
    : [config.fold];
  const training = seeds ?? [config.seed];
  const splitSeed = config.splitSeed ?? training[0];
  return training.flatMap((seed) =>
    folds.map((fold) => ({
      name: [`seed_${seed}`, ...(fold === null ? [] : [`fold_${fold}`])].join("-"),
      config: { ...config, seed, splitSeed, fold },
    }))
  );
}

/**
 * Runs a study, or with several folds or seeds one study for each and then a table over all of them:
 * every slice's scores averaged over seeds, the slices of all folds taken together. Studies that the
 * results folder already holds whole are kept, and one that was stopped goes on, so that the same
 * command goes on after a stop.
 *
 * @returns the results folder.
 * @throws {InputError} as {@linkcode runStudy}, and if the folder holds other results.
 */
export async function runStudies(
  experiments: readonly Experiment[],
  { options, command, publish }: { options: Options; command: string; publish: Publish },
): Promise<string> {
  const parts = partsOf(options);
  if (parts.length === 1 && options.seeds === null) {
    return await runStudy(experiments, { options, command, publish });
  }
  const date = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  const dataset = basename(options.config.data ?? SAMPLE);
  const folder = options.out ?? join("results", `${dataset}-${date}`);
  await claim(folder, { experiments, parts: parts.map(({ name }) => name), command });
  for (const { name, config } of parts) {
    const out = join(folder, name);
    try {
      if (await exists(join(out, RECORD))) {
        // Which rows there are has been compared above.
        await resumeStudy(
          { ...options, resume: out, given: config, givenRanks: null },
          publish,
        );
      } else if (await exists(join(out, "table.json"))) {
        console.log(`${out} is whole.`);
      } else {
        await runStudy(experiments, { options: { ...options, config, out }, command, publish });
      }
    } catch (error) {
      // A part whose table is written goes on without the runs that a guard has ended.
      if (!(error instanceof GuardError && await exists(join(out, "table.json")))) throw error;
    }
  }
  const caught = await findCaught(folder, { experiments, parts });
  const left = experiments.filter((experiment) =>
    !caught.some(({ name }) => name === displayName(experiment))
  );
  await pool(folder, { experiments: left, parts, command, caught, publish });
  requireNoneCaught(caught);
  return folder;
}

/** The experiments that a guard has ended in one part or more, each with the first of them. */
async function findCaught(
  folder: string,
  { experiments, parts }: { experiments: readonly Experiment[]; parts: readonly Part[] },
): Promise<CaughtRun[]> {
  const caught: CaughtRun[] = [];
  for (const experiment of experiments) {
    for (const part of parts) {
      const run = join(folder, part.name, experiment.name);
      const error = await readGuard(run);
      if (!error) continue;
      caught.push({ name: displayName(experiment), folder: run, error });
      break;
    }
  }
  return caught;
}

/** Takes a folder that is new or was begun by the same command. */
async function claim(folder: string, record: Record<string, unknown>): Promise<void> {
  const path = join(folder, PARTS);
  const text = JSON.stringify(record, null, 2) + "\n";
  const begun = await Deno.readTextFile(path).catch(() => null);
  const holds = await Array.fromAsync(Deno.readDir(folder)).then((list) => list.length, () => 0);
  if (begun === null ? holds > 0 : begun !== text) {
    throw new InputError(
      `${folder} already holds other results: name another folder with --out, or remove it`,
    );
  }
  await writeFileAtomic(path, text);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function readJson<T>(path: string): Promise<T> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    throw new InputError(`${path} cannot be read: remove its folder to run that part again`);
  }
}

/** Writes what all parts come to together. */
async function pool(
  folder: string,
  { experiments, parts, command, caught, publish }: {
    experiments: readonly Experiment[];
    parts: readonly Part[];
    command: string;
    caught: readonly CaughtRun[];
    publish: Publish;
  },
): Promise<void> {
  const tables = await Promise.all(
    parts.map(({ name }) => readJson<ComparisonTable>(join(folder, name, "table.json"))),
  );
  const models = new Map<string, readonly ProtocolSlice[]>();
  const rows = [];
  for (const experiment of experiments) {
    const runs = parts.map(({ name }) => join(folder, name, experiment.name));
    const slices = averageSlices((await Promise.all(runs.map(readScores))).flat());
    const cases = averageCases(
      (await Promise.all(runs.map((run) => readJson<ProtocolCase[]>(join(run, "cases.json")))))
        .flat(),
    );
    const summaries = await Promise.all(
      runs.map((run) => readJson<RunSummary>(join(run, "summary.json"))),
    );
    const scores = summarizeScores({ slices, cases });
    models.set(displayName(experiment), slices);
    const own = join(folder, experiment.name);
    await writeFileAtomic(join(own, "scores.json"), listJson(slices));
    await writeFileAtomic(join(own, "cases.json"), listJson(cases));
    const summary = {
      experiment,
      trainableParameters: summaries[0].trainableParameters,
      placement: summaries[0].placement,
      runs: parts.map(({ name, config }, i) => ({
        name,
        seed: config.seed,
        fold: config.fold,
        bestEpoch: summaries[i].bestEpoch,
        dice: summaries[i].dice,
      })),
      ...scores,
    };
    await writeFileAtomic(join(own, "summary.json"), JSON.stringify(summary, null, 2) + "\n");
    const average = (field: "secondsPerStep" | "trainSeconds") =>
      summaries[0][field] === undefined
        ? undefined
        : mean(summaries.map((summary) => summary[field]!));
    rows.push({
      model: displayName(experiment),
      kind: experiment.kind,
      ...rowScores(scores),
      trainableParameters: summary.trainableParameters,
      secondsPerStep: average("secondsPerStep"),
      trainSeconds: average("trainSeconds"),
      peakGpuBytes: summaries[0].peakGpuBytes &&
        Math.max(...summaries.map(({ peakGpuBytes }) => peakGpuBytes!)),
    });
  }
  const statistics = compareScores(models);
  await writeFileAtomic(
    join(folder, "statistics.json"),
    JSON.stringify(statistics, null, 2) + "\n",
  );
  const verdicts = judgeStudy(experiments, models);
  if (verdicts.length > 0) {
    await writeFileAtomic(
      join(folder, "verdicts.json"),
      JSON.stringify(verdicts, null, 2) + "\n",
    );
  }
  const tests = testsOf(statistics, PRIMARY_PROMPT);
  const { config } = parts[0];
  const seeds = [...new Set(parts.map(({ config }) => config.seed))];
  const folds = new Set(parts.map(({ config }) => config.fold)).size;
  const trivial = await Promise.all(
    parts.map(({ name }) =>
      readJson<Record<string, ProtocolSlice[]>>(join(folder, name, "trivial.json"))
    ),
  );
  const slices = averageSlices(trivial.flatMap((found) => Object.values(found)[0]));
  const table = compareRows([
    ...rows.map((row) => ({ ...row, tests: tests.get(row.model) })),
    ...Object.keys(trivial[0]).map((model) =>
      trivialRow(model, {
        slices: averageSlices(trivial.flatMap((found) => found[model])),
        cases: [],
      })
    ),
  ], {
    ...tables[0].context,
    ...(caught.length > 0 && { notes: guardNotes(caught) }),
    command,
    seed: config.seed,
    pooled: `${folds > 1 ? `${folds} folds, ` : ""}training seed${seeds.length > 1 ? "s" : ""} ` +
      `${seeds.join(", ")}, split seed ${dataSeed(config)}`,
    splits: {
      test: {
        patients: new Set(slices.map(({ patient }) => patient)).size,
        slices: slices.length,
      },
    },
    scoredOn: "test",
  });
  if (verdicts.length > 0) table.verdicts = named(verdicts, experiments);
  const write = (file: string, content: Uint8Array | string) =>
    writeFileAtomic(join(folder, file), content);
  await write("table.json", JSON.stringify(table, null, 2) + "\n");
  await publish({ folder, table, runs: [], sample: null, write, log: console.log });
}

/** The mean of scores of one slice or case under one prompt, metric by metric. */
function averageScores(scores: readonly MaskScore[]): MaskScore {
  const averages = Object.keys(scores[0]).map((name) => {
    const values = scores.map((score) => score[name as keyof MaskScore] ?? null);
    return [name, values.includes(null) ? null : mean(values as number[])];
  });
  return Object.fromEntries(averages);
}

function averagePrompts<T extends ProtocolResult["slices"][number] | ProtocolCase>(
  repeats: readonly T[],
): T["scores"] {
  return Object.fromEntries(
    Object.keys(repeats[0].scores).map((prompt) => [
      prompt,
      averageScores(repeats.map(({ scores }) => scores[prompt as keyof T["scores"]]! as MaskScore)),
    ]),
  );
}

/** One slice for all that have its id. */
function averageSlices(slices: readonly ProtocolSlice[]): ProtocolSlice[] {
  return [...Map.groupBy(slices, ({ id }) => id).values()].map((repeats) => ({
    ...repeats[0],
    scores: averagePrompts(repeats),
    ...(repeats[0].clicks && {
      clicks: repeats[0].clicks.map((_, i) => mean(repeats.map(({ clicks }) => clicks![i]))),
    }),
  }));
}

/** One case for all that have its id. */
function averageCases(cases: readonly ProtocolCase[]): ProtocolCase[] {
  return [...Map.groupBy(cases, ({ id }) => id).values()].map((repeats) => ({
    ...repeats[0],
    scores: averagePrompts(repeats),
  }));
}
