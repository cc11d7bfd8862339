// deno task evaluate RUN --data DIR: scores a finished run on any data set.
import { basename, join } from "node:path";
import { openDataset } from "../lib/data/dataset.ts";
import type { SliceRef } from "../lib/data/slices.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { Progress } from "../lib/report/progress.ts";
import { evaluate } from "../lib/train/evaluate.ts";
import { adapterWeights, loadAdapter } from "../lib/weights/adapter.ts";
import { displayName } from "./harness/config.ts";
import { describeAdapter, describeEnvironment } from "./harness/environment.ts";
import { runMain } from "./harness/main.ts";
import { buildModel, restoreWeights, sliceModel, weightsFile } from "./harness/model.ts";
import { commandLine, parseEvaluateOptions } from "./harness/options.ts";
import { ownWeights } from "./harness/adapter.ts";
import { readRun, readSplit } from "./harness/run_folder.ts";
import { SCORED_PROMPTS, summarizeEvaluation } from "./harness/run_experiment.ts";
import { limit, openSlicesWithProgress } from "./harness/study_data.ts";
import { openGpu } from "./harness/webgpu.ts";

const usage =
  "usage: ./run evaluate RUN --data DIR [--weights FILE] [--side N] [--max-test N] [--out FILE]";

/** The slices of patients that the run was neither trained nor chosen on. */
async function withoutSeenPatients(run: string, refs: readonly SliceRef[]): Promise<SliceRef[]> {
  const split = await readSplit(run);
  const seen = new Set([...split.train, ...split.validation]);
  const unseen = refs.filter(({ patient }) => !seen.has(patient));
  if (unseen.length === 0) {
    throw new InputError(
      `${run} was trained on every patient of this data set: score it on other patients`,
    );
  }
  if (unseen.length < refs.length) {
    console.log(
      `Left out: ${
        refs.length - unseen.length
      } slices of patients that the run was trained or chosen on.`,
    );
  }
  return unseen;
}

await runMain(async () => {
  const options = parseEvaluateOptions(Deno.args);
  if (options.help) return console.log(usage);
  const { run } = options;
  if (run === null || options.data === null) throw new InputError(usage);
  const { experiment, config: trained } = await readRun(run);
  const config = { ...trained, ...options.overrides, data: options.data };
  if (options.overrides.weights === undefined) ownWeights(run, trained);

  using gpu = await openGpu(options.webgpu);
  console.log(describeAdapter(gpu.info));
  const dataset = await openDataset(options.data, { modality: config.modality });
  const slices = await openSlicesWithProgress(dataset, config);
  const unseen = experiment.kind === "vanilla"
    ? slices.refs
    : await withoutSeenPatients(run, slices.refs);
  const refs = limit(unseen, options.maxTest, config.seed);

  const sam = await buildModel(gpu, { experiment, config });
  if (experiment.kind !== "vanilla") {
    const folder = join(run, "adapter");
    restoreWeights(sam, adapterWeights(await loadAdapter(folder)), folder);
  }
  using model = sliceModel(sam, { ...config, cacheMemory: 0, cacheDisk: 0 });
  const name = displayName(experiment);
  const progress = new Progress({ label: `${name} on ${dataset.name}`, total: refs.length });
  const evaluation = await evaluate(model, { reader: slices, refs }, {
    prompts: SCORED_PROMPTS,
    seed: config.seed,
    batchSize: config.batchSize,
    onProgress: (done) => progress.update({ done }),
  });
  const scores = summarizeEvaluation(evaluation);
  progress.finish(
    `${name} on ${dataset.name}: Dice ${
      SCORED_PROMPTS.map((kind) => `${scores.dice[kind].mean.toFixed(3)} (${kind})`).join(", ")
    }`,
  );
  const command = commandLine("evaluate", Deno.args);
  const out = options.out ?? join(run, `evaluation-${dataset.name}.json`);
  await writeFileAtomic(
    out,
    JSON.stringify(
      {
        experiment,
        dataset: dataset.name,
        config: {
          ...config,
          data: dataset.name,
          weights: config.weights && basename(config.weights),
          maxTest: options.maxTest,
        },
        patients: new Set(refs.map(({ patient }) => patient)).size,
        ...scores,
        slices: evaluation.slices,
        environment: await describeEnvironment(gpu.info, {
          command,
          weights: await weightsFile(config),
        }),
      },
      null,
      2,
    ) + "\n",
  );
  console.log(`Written: ${out}`);
});
