// deno task growth: studies of 100, 1,000 and 10,000 tasks whose trainings are stubs that write real files.
// Time and memory of `plan`, `status` and `gather` go to results/cluster/growth.json, and a figure of them.
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { ADAPTER_FILES } from "../../lib/adapters/adapter.ts";
import { MANIFEST, manifestJson } from "../../lib/study/manifest.ts";
import { type PlannedTask, readPlan, tasksOf } from "../../lib/study/plan.ts";
import { encodeRecords, readRecords, type Records } from "../../lib/study/records.ts";
import { FILES } from "../../lib/study/results.ts";
import { RUN, taskFolder } from "../../lib/study/task_files.ts";
import { tinyDataset } from "../experiments/tiny_dataset.ts";
import { drawGrowth, type Growth } from "./figure.ts";
import { measure } from "./measure.ts";

const root = join(import.meta.dirname!, "..", "..");
const results = join(root, "results", "cluster");
const sizes = (Deno.args[0] ?? "100,1000,10000").split(",").map(Number);

/** Rows, folds and seeds of a study of so many tasks. */
function shapeOf(tasks: number): { ranks: number; folds: number; seeds: number } {
  const folds = 5;
  const ranks = tasks >= 10_000 ? 49 : 9; // beside vanilla
  return { ranks, folds, seeds: Math.round(tasks / folds / (ranks + 1)) };
}

/** Files of a finished task, from which the others' are made. */
interface Template {
  readonly run: Record<string, unknown>;
  readonly records: readonly Records[];
  readonly adapter: Readonly<Record<string, Uint8Array>>;
}

/** Trains nothing, and writes what a training writes. */
async function stub(
  study: string,
  { part, experiment }: PlannedTask,
  templates: ReadonlyMap<string, Template>,
): Promise<void> {
  const isVanilla = experiment.kind === "vanilla";
  const found = templates.get(`${isVanilla ? "vanilla" : "lora"} ${part.config.fold}`)!;
  const folder = taskFolder(part.name, experiment.name);
  const { seed, splitSeed, fold } = part.config;
  const config = { ...found.run.config as object, seed, splitSeed, fold };
  const run = { ...found.run, part: part.name, experiment, config };
  const records = found.records.map((one) => ({ ...one, part: part.name, row: experiment.name }));
  const files: Record<string, Uint8Array | string> = {
    [join(folder, RUN)]: JSON.stringify(run, null, 2) + "\n",
    [join(folder, FILES.records)]: await encodeRecords(records),
  };
  for (const [name, bytes] of Object.entries(found.adapter)) {
    files[join(FILES.adapters, part.name, experiment.name, name)] = bytes;
  }
  const hashes = Object.entries(files).map(([path, content]) =>
    [path, createHash("sha256").update(content).digest("hex")] as const
  );
  const manifest = manifestJson({ accepted: [], files: Object.fromEntries(hashes), pending: {} });
  const lease = JSON.stringify({
    machine: "stub",
    pid: 1,
    job: null,
    device: "none",
    since: "2026-01-01T00:00:00.000Z",
    seconds: 60,
    outcome: "finished",
    message: null,
  });
  const all = {
    ...files,
    [join(folder, MANIFEST)]: manifest,
    [join(folder, "lease", "000001")]: lease.padEnd(1024),
    [join(folder, "metrics.jsonl")]: (run as { epochs?: unknown[] }).epochs!
      .map((epoch) => JSON.stringify(epoch) + "\n").join(""),
  };
  for (const [path, content] of Object.entries(all)) {
    const at = join(study, path);
    Deno.mkdirSync(dirname(at), { recursive: true });
    if (typeof content === "string") Deno.writeTextFileSync(at, content);
    else Deno.writeFileSync(at, content);
  }
}

/** Trains two rows in each fold really, on tiny slices. */
async function templatesOf(cwd: string): Promise<Map<string, Template>> {
  const options = [...OPTIONS, "--ranks=1", "--seeds=0", "--folds=5", "--epochs=1"];
  await measure(cwd, "main.ts", ["--out", "template", ...options]);
  const study = join(cwd, "template");
  const runs = JSON.parse(await Deno.readTextFile(join(study, FILES.runs)));
  const records = await readRecords(join(study, FILES.records));
  const templates = new Map<string, Template>();
  for (const run of runs) {
    const isVanilla = run.experiment.kind === "vanilla";
    const own = records.filter(({ part, row }) => part === run.part && row === run.experiment.name);
    const folder = join(study, FILES.adapters, run.part, run.experiment.name);
    const adapter: Template["adapter"] = isVanilla ? {} : {
      [ADAPTER_FILES.weights]: await Deno.readFile(join(folder, ADAPTER_FILES.weights)),
      [ADAPTER_FILES.config]: await Deno.readFile(join(folder, ADAPTER_FILES.config)),
    };
    templates.set(`${isVanilla ? "vanilla" : "lora"} ${run.config.fold}`, {
      run,
      records: own,
      adapter,
    });
  }
  return templates;
}

const OPTIONS = [
  "--data=data",
  "--side=64",
  "--batch-size=3",
  "--baselines=vanilla",
  "--encoder-ranks=none",
  "--save-modules=none",
  "--wise-ft=1",
];

const cwd = await tinyDataset(10);
const growth: Growth = { command: `deno task growth ${sizes.join()}`, studies: [] };
try {
  const templates = await templatesOf(cwd);
  for (const size of sizes) {
    const { ranks, folds, seeds } = shapeOf(size);
    const numbers = (count: number, from: number) =>
      Array.from({ length: count }, (_, i) => i + from).join(",");
    const out = `study-${size}`;
    const options = [...OPTIONS, "--epochs=1", `--folds=${folds}`, "--out", out];
    const plan = await measure(cwd, "plan.ts", [
      ...options,
      `--ranks=${numbers(ranks, 1)}`,
      `--seeds=${numbers(seeds, 0)}`,
      "--untimed",
    ]);
    const study = join(cwd, out);
    const tasks = tasksOf((await readPlan(study))!);
    const start = performance.now();
    for (const task of tasks) await stub(study, task, templates);
    console.log(`${tasks.length} stubs in ${((performance.now() - start) / 1000).toFixed(1)} s`);
    const status = await measure(cwd, "status.ts", [out, "--json"]);
    const gather = await measure(cwd, "gather.ts", [out]);
    growth.studies.push({ tasks: tasks.length, plan, status, gather });
    console.log(JSON.stringify(growth.studies.at(-1)));
    await Deno.remove(study, { recursive: true });
  }
} finally {
  await Deno.remove(cwd, { recursive: true });
}
await Deno.mkdir(results, { recursive: true });
await Deno.writeTextFile(join(results, "growth.json"), JSON.stringify(growth, null, 2) + "\n");
await drawGrowth(growth, join(results, "growth.png"));
