// Two commits compared by what their commands come to:
//   deno run -A tests/compare.ts record CHECKOUT OUT [--only A,B]   runs every job with one checkout
//   deno run -A tests/compare.ts diff OUT_A OUT_B                   lists the figures that differ
// A job is a tiny study, or a command on one, by the options that both checkouts spell alike. Wall
// times, dates, paths and versions are left out of the comparison; trained weights count by their hash.
import { parseArgs } from "@std/cli/parse-args";
import { basename, join, relative, resolve } from "node:path";
import { createHash } from "node:crypto";
import { computeTable, experimentsOf, poolRecords } from "../lib/study/comparison.ts";
import { readStudyFiles } from "../lib/study/read_study.ts";
import { rounded } from "../lib/study/records.ts";
import { type ComparisonTable, readRuns } from "../lib/study/results.ts";
import { summarizeScores } from "../lib/study/statistics.ts";
import { tinyDataset } from "./experiments/tiny_dataset.ts";

/** Options of every tiny study. */
const TINY = ["--side", "64", "--epochs", "2", "--batch-size", "2", "--data", "data"];

/** Rows of a study of one rank. */
const RANK = [...TINY, "--ranks", "4"];

/** Commands by job, in the order they are run; the folder of a study is the job's name. */
const JOBS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  rows: [["experiments", ...RANK, "--baselines", "vanilla,peft,full", "--wise-ft", "0.5"]],
  prompts: [[
    "experiments",
    ...RANK,
    "--prompt-mix",
    "tight-box=0.3,jittered-box=0.3,point=0.2,whole-image=0.2",
    "--prompts-per-step",
    "2",
    "--prompt-iterations",
    "2",
    "--validation-prompt",
    "whole-image",
  ]],
  averages: [[
    "experiments",
    ...RANK,
    "--ema",
    "0.9",
    "--keep",
    "last",
    "--no-early-stopping",
    "--patience",
    "1",
    "--pretrained-lr",
    "1e-4",
    "--save-modules",
    "mask_decoder",
  ]],
  augment: [["experiments", ...RANK, "--augment", "all", "--augment-variants", "2"]],
  optimizer: [[
    "experiments",
    ...RANK,
    "--optimizer",
    "adamw",
    "--weight-decay",
    "0.1",
    "--schedule",
    "constant",
    "--warmup",
    "1",
    "--max-grad-norm",
    "0.5",
    "--gradient-accumulation-steps",
    "2",
    "--dropout",
    "0.1",
  ]],
  memory: [[
    "experiments",
    ...RANK,
    "--storage",
    "f16",
    "--checkpoint-activations",
    "--cache-memory",
    "0",
  ]],
  dora: [["experiments", ...RANK, "--baselines", "vanilla", "--variants", "dora,rslora"]],
  pissa: [[
    "experiments",
    ...RANK,
    "--baselines",
    "vanilla",
    "--init",
    "pissa",
    "--targets",
    "attn.proj,mlp.fc1",
    "--blocks",
    "8,9",
  ]],
  parts: [[
    "experiments",
    ...RANK,
    "--baselines",
    "vanilla",
    "--qkv-parts",
    "q,v",
    "--init",
    "gaussian",
    "--alpha",
    "8",
  ]],
  slices: [[
    "experiments",
    ...RANK,
    "--crop",
    "28",
    "--rescale",
    "zscore",
    "--min-tumour",
    "5",
    "--max-slices",
    "1",
    "--seed",
    "3",
    "--split-seed",
    "1",
    "--split",
    "0.4,0.2,0.4",
  ]],
  folds: [["experiments", ...RANK, "--folds", "2", "--seeds", "0,1", "--epochs", "1"]],
  alone: [["experiment", "lora_8", ...TINY]],
  sweep_ranks: [["experiments", ...TINY, "--sweep", "ranks", "--epochs", "1"]],
  sweep_placements: [["experiments", ...TINY, "--sweep", "placements", "--epochs", "1"]],
  sweep_optimisation: [["experiments", ...TINY, "--sweep", "optimisation", "--epochs", "1"]],
  sweep_freezing: [["experiments", ...TINY, "--sweep", "freezing", "--epochs", "1"]],
  sweep_augmentation: [["experiments", ...TINY, "--sweep", "augmentation", "--epochs", "1"]],
  sweep_preprocessing: [["experiments", ...TINY, "--sweep", "preprocessing", "--epochs", "1"]],
  sweep_overfitting: [["experiments", ...TINY, "--sweep", "overfitting", "--epochs", "1"]],
  evaluate: [[
    "evaluate",
    "results/cheng-meningioma-all/adapters/lora_16_wise_0_75",
    "--data",
    "data",
    "--out",
    "evaluate/evaluated.json",
  ]],
};

/** Fields that are of the time, the place or the version, not of the result. */
const VOLATILE =
  /(^|[._])(seconds|trainSeconds|secondsPerStep|peakGpuBytes|date|command|commit|samlora|code|environment|version|milliseconds|time|sha256|hash|out|cases\.json|simulated|predicted)$/i;

const decoder = new TextDecoder();

/** Runs jobs with a checkout and keeps what they leave in OUT. */
async function record(checkout: string, out: string, only: readonly string[]): Promise<void> {
  await Deno.mkdir(out, { recursive: true });
  if (!await Deno.stat(join(out, "data")).catch(() => null)) {
    const folder = await tinyDataset(8);
    await Deno.rename(join(folder, "data"), join(out, "data")).catch(async () => {
      await new Deno.Command("cp", { args: ["-r", join(folder, "data"), out] }).output();
    });
  }
  for (const [name, commands] of Object.entries(JOBS)) {
    if (only.length > 0 && !only.includes(name)) continue;
    await Deno.remove(join(out, name), { recursive: true }).catch(() => {});
    const started = performance.now();
    for (const [task, ...args] of commands) {
      if (task === "evaluate") {
        args[0] = join(resolve(checkout), args[0]);
        await Deno.mkdir(join(out, name), { recursive: true });
      } else args.push("--out", name);
      const { code, stdout, stderr } = await new Deno.Command(join(resolve(checkout), "run"), {
        args: [task, ...args],
        cwd: out,
        env: { SAMLORA_CACHE: resolve(out, "cache"), NO_COLOR: "1" },
      }).output();
      await Deno.writeTextFile(
        join(out, `${name}.log`),
        `exit code ${code}\n` + decoder.decode(stdout) + decoder.decode(stderr),
      );
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      console.log(`${name}: exit code ${code}, ${seconds} s`);
    }
  }
}

/** Every figure of a job's folder by file and path within it. */
async function figuresOf(folder: string): Promise<Map<string, string>> {
  const figures = new Map<string, string>();
  const put = (path: string, value: unknown) => {
    if (VOLATILE.test(path)) return;
    if (value !== null && typeof value === "object") {
      for (const [key, inner] of Object.entries(value)) put(`${path}.${key}`, inner);
    } else if (value !== undefined) figures.set(path, JSON.stringify(value));
  };
  const runs = await readRuns(folder);
  const isPacked = (name: string) =>
    runs !== null && /^(adapters.|(runs|table)\.json$|records\.json\.gz$)/.test(name);
  for await (const path of filesOf(folder)) {
    const name = relative(folder, path);
    // Two copies of trained weights were left once; those in half precision are gone.
    if (isPacked(name) || /(^|\W)adapters\W|^cross_validation\.json$/.test(name)) continue;
    const bytes = await Deno.readFile(path);
    if (/\.safetensors$/.test(name)) put(name, tensorHash(bytes));
    else if (/\.json$/.test(name)) put(name, JSON.parse(decoder.decode(bytes)));
    else if (/\.jsonl$/.test(name)) {
      decoder.decode(bytes).trim().split("\n").forEach((line, i) =>
        put(`${name}[${i}]`, JSON.parse(line))
      );
    }
  }
  if (runs) { for await (const [name, value] of unpack(folder)) put(name, value); }
  return figures;
}

/** SHA-256 of the tensors of a safetensors file, whatever else it says. */
function tensorHash(bytes: Uint8Array): string {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const { __metadata__: _, ...header } = JSON.parse(decoder.decode(bytes.slice(8, 8 + length)));
  return createHash("sha256").update(JSON.stringify(header)).update(bytes.slice(8 + length))
    .digest("hex");
}

/**
 * The figures of a study under the names of files that studies once had: a folder a row, and for each part
 * of a cross-validation a study of its own.
 */
async function* unpack(folder: string): AsyncGenerator<[name: string, value: unknown]> {
  const { table, runs, records } = await readStudyFiles(folder);
  const parts = [...new Set(runs.map(({ part }) => part))];
  for (const part of parts) {
    const own = runs.filter((run) => run.part === part).map((run) => ({ ...run, part: "" }));
    const found = records.filter((one) => one.part === part);
    for (const { experiment, config, data, split, environment, epochs, summary, guard } of own) {
      const at = (file: string) => join(part, experiment.name, file);
      yield [at("config.json"), { experiment, config, data }];
      yield [at("split.json"), split];
      yield [at("environment.json"), environment];
      for (const [i, epoch] of epochs.entries()) yield [at(`metrics.jsonl[${i}]`), epoch];
      if (guard) yield [at("guard.json"), guard];
      const scores = found.find(({ row }) => row === experiment.name);
      if (!summary || !scores) continue;
      const { slices, cases, masks } = scores;
      yield [at("scores.json"), slices];
      yield [at("cases.json"), cases];
      yield [at("masks.json"), masks];
      yield [at("summary.json"), { experiment, ...summary, ...summarizeScores({ slices, cases }) }];
      const weights = join(folder, "adapters", part, experiment.name);
      if (!await Deno.stat(weights).catch(() => null)) continue;
      const bytes = await Deno.readFile(join(weights, "adapter_model.safetensors"));
      yield [at("adapter/adapter_model.safetensors"), tensorHash(bytes)];
      const adapter = await Deno.readTextFile(join(weights, "adapter_config.json")).catch(() =>
        null
      );
      if (adapter) yield [at("adapter/adapter_config.json"), JSON.parse(adapter)];
    }
    const trivial = found.filter((one) => one.trivial);
    yield [
      join(part, "trivial.json"),
      Object.fromEntries(trivial.map(({ row, slices }) => [row, slices])),
    ];
    const { pooled: _, ...context } = table.context;
    const { train, validation, test } = own[0].data;
    const partTable = part === "" ? table : computeTable({
      ...context,
      seed: Number(own[0].config.seed),
      splits: { train, validation, test },
    }, { runs: own, records: found.map((one) => ({ ...one, part: "" })) });
    yield* tableFiles(part, partTable);
  }
  if (parts.length === 1 && parts[0] === "") return;
  yield* tableFiles("", table);
  for (const experiment of experimentsOf(runs)) {
    const own = runs.filter((run) => run.experiment.name === experiment.name);
    const { slices, cases } = poolRecords(records, experiment.name);
    const at = (file: string) => join(experiment.name, file);
    yield [at("scores.json"), rounded(slices)];
    yield [at("cases.json"), rounded(cases)];
    yield [at("summary.json"), {
      experiment,
      trainableParameters: own[0].summary!.trainableParameters,
      placement: own[0].summary!.placement,
      runs: own.map(({ part, config, summary }) => ({
        name: part,
        seed: config.seed,
        fold: config.fold,
        bestEpoch: summary!.bestEpoch,
        dice: summarizeScores(
          records.find((one) => one.part === part && one.row === experiment.name)!,
        ).dice,
      })),
      ...summarizeScores({ slices, cases }),
    }];
  }
}

/** A table under the names that its parts had. */
function* tableFiles(folder: string, table: ComparisonTable): Generator<[string, unknown]> {
  const { statistics, verdicts, ...rest } = table;
  const stated = verdicts.length > 0;
  yield [join(folder, "table.json"), { ...rest, ...(stated && { verdicts }) }];
  yield [join(folder, "statistics.json"), statistics];
  if (stated) yield [join(folder, "verdicts.json"), verdicts];
}

/** True if two figures differ by no more than what comes of scores and tables being rounded. */
function isRounding(path: string, before: string, after: string): boolean {
  if (!/(summary|table|evaluated|statistics|verdicts)\.json\./.test(path)) return false;
  const [a, b] = [Number(before), Number(after)];
  const scale = /accuracy$|Comparison$/.test(path) ? 100 : Math.max(1, Math.abs(a));
  return Math.abs(a - b) <= 6e-6 * scale;
}

async function* filesOf(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* filesOf(join(folder, name));
    else yield join(folder, name);
  }
}

/** Lists what differs between two folders of jobs. */
async function diff(a: string, b: string): Promise<boolean> {
  let same = true;
  for (const name of Object.keys(JOBS)) {
    const [before, after] = [join(a, name), join(b, name)];
    const exist = await Promise.all(
      [before, after].map((path) => Deno.stat(path).then(() => true, () => false)),
    );
    if (!exist[0] || !exist[1]) {
      if (exist[0] !== exist[1]) {
        console.log(`${name}: only in ${exist[0] ? basename(a) : basename(b)}`);
      }
      continue;
    }
    const [old, now] = await Promise.all([figuresOf(before), figuresOf(after)]);
    const unequal = [...old].filter(([key, value]) => now.has(key) && now.get(key) !== value);
    const changed = unequal.filter(([key, value]) => !isRounding(key, value, now.get(key)!));
    const gone = [...old.keys()].filter((key) => !now.has(key));
    const added = [...now.keys()].filter((key) => !old.has(key));
    const equal = old.size - unequal.length - gone.length;
    console.log(
      `${name}: ${equal} equal, ${unequal.length - changed.length} but for rounding, ` +
        `${changed.length} differ, ${gone.length} gone, ${added.length} new`,
    );
    if (changed.length + gone.length > 0) same = false;
    for (const [key, value] of changed.slice(0, 8)) {
      console.log(`  ${key}: ${value} -> ${now.get(key)}`);
    }
    for (const key of gone.slice(0, 4)) console.log(`  gone: ${key}`);
  }
  return same;
}

const { _: [verb, ...rest], only } = parseArgs(Deno.args, { string: ["only", "_"] });
const [first, second] = rest.map(String);
if (verb === "record" && second) {
  await record(first, second, only?.split(",") ?? []);
} else if (verb === "diff" && second) {
  if (!await diff(first, second)) Deno.exit(1);
} else {
  console.error("usage: tests/compare.ts record CHECKOUT OUT [--only A,B] | diff OUT_A OUT_B");
  Deno.exit(2);
}
