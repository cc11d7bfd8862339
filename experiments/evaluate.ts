// ./run evaluate ADAPTER --data DIR: scores an adapter on any data set, under the whole protocol.
import { basename } from "node:path";
import { weightsFile } from "../lib/files/pretrained.ts";
import { openDataset } from "../lib/data/dataset.ts";
import type { SliceRef, SliceSet } from "../lib/data/slices.ts";
import { pictureOf, type Thumbnails } from "../lib/data/thumbnails.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { Progress } from "../lib/study/progress.ts";
import { plural } from "../lib/report/format.ts";
import { protocolText } from "../lib/report/protocol_table.ts";
import { gridText, unpromptedGrid } from "../lib/report/table.ts";
import {
  type ProtocolOptions,
  type ProtocolResult,
  runProtocol,
} from "../lib/evaluate/protocol.ts";
import type { PresenceRule } from "../lib/evaluate/presence.ts";
import { AUTOMATIC_PROMPTS, type ScoredPrompt } from "../lib/evaluate/scored_prompts.ts";
import type { SliceModel } from "../lib/evaluate/slice_model.ts";
import { summarizeUnprompted } from "../lib/evaluate/unprompted.ts";
import { lookAlikeSentence } from "../lib/predict/recipe.ts";
import { pick } from "../lib/study/command_line.ts";
import { configFields, dataSeed } from "../lib/study/schema.ts";
import { describeAdapter, describeEnvironment } from "../lib/study/environment.ts";
import { runCommand } from "../lib/study/main.ts";
import { sliceModel } from "../lib/study/model.ts";
import { rounded } from "../lib/study/records.ts";
import { linesJson } from "../lib/study/results.ts";
import { openScoredModel, unseenSlices } from "../lib/study/scored_model.ts";
import { summarizeScores } from "../lib/study/statistics.ts";
import { limit, openSlicesWithProgress, tellData } from "../lib/study/study_data.ts";
import { openGpu, withVersion } from "../lib/study/device.ts";
import { adapterPath } from "../lib/study/shipped.ts";
import { commands, evaluationFile } from "./commands.ts";

/** An object that two lists, one item a line, close. */
function evaluationJson(head: object, { slices, cases }: ProtocolResult): string {
  return JSON.stringify(head, null, 2).replace(/\n}$/, "") +
    `,\n"slices": ${linesJson(slices)},\n"cases": ${linesJson(cases)}}\n`;
}

/** Slices that look like some that the model was trained on, told in a sentence; null if none can tell. */
async function lookAlikes(
  seen: Thumbnails | null,
  { slices, refs }: { slices: SliceSet; refs: readonly SliceRef[] },
): Promise<string[] | null> {
  if (!seen) {
    console.log(
      "The adapter holds no thumbnails of its training slices: nobody can tell whether these are among them.",
    );
    return null;
  }
  const ids: string[] = [];
  for (const ref of refs) {
    if (seen.has(pictureOf(await slices.read(ref)))) ids.push(ref.id);
  }
  if (ids.length > 0) console.log(`Warning: ${lookAlikeSentence(ids, refs.length)}`);
  return ids;
}

/** Scores slices, and says how many there were and the time that they took. */
async function score(
  model: SliceModel,
  { label, data, options }: {
    label: string;
    data: { reader: SliceSet; refs: readonly SliceRef[] };
    options: ProtocolOptions;
  },
): Promise<{ result: ProtocolResult; seconds: number }> {
  const { refs } = data;
  const progress = new Progress({ label, total: refs.length });
  const start = performance.now();
  const onProgress = (done: number) => progress.update({ done });
  const result = rounded(await runProtocol(model, data, { ...options, onProgress }));
  const seconds = (performance.now() - start) / 1000;
  const counts = [
    plural(result.cases.length, "case"),
    plural(new Set(refs.map(({ patient }) => patient)).size, "patient"),
    `${(seconds / refs.length).toFixed(2)} s a slice`,
  ];
  progress.finish(`${label}: ${plural(refs.length, "slice")} of ${counts.join(", ")}`);
  return { result, seconds };
}

/** Scores without a prompt, of all masks and of those that count; undefined if no prompt was without a hint. */
function unpromptedOf(
  { slices }: ProtocolResult,
  { prompts, rule }: { prompts: readonly ScoredPrompt[]; rule: PresenceRule | null },
) {
  if (!prompts.some((prompt) => AUTOMATIC_PROMPTS.includes(prompt))) return undefined;
  const of = (rule: PresenceRule | null) => summarizeUnprompted([{ slices, rule }]);
  return { rules: rule ? [rule] : [], all: of(null), ...(rule && { ruled: of(rule) }) };
}

await runCommand(commands.evaluate, async ({ argument, given, values, line: command }) => {
  const path = adapterPath(argument);
  const { data, maxTest, out: file } = values;
  const overrides = pick(given, configFields);
  const subject = await openScoredModel(path, overrides);
  const { name, experiment } = subject;
  if (!file && subject.split === null) {
    throw new InputError(
      `${path} is no folder of a study's adapter to write to: name a file with --out`,
    );
  }
  const { patients: whose, labels } = values; // of this data set, whatever the run's had
  const config = { ...subject.config, data: data!, patients: whose, labels };

  await using gpu = await openGpu(values);
  console.log(describeAdapter(withVersion(gpu.info)));
  const dataset = await openDataset(data!, config);
  const slices = await openSlicesWithProgress(dataset, config, {
    kind: values.wholeVolumes ? "all" : "tumour",
  });
  tellData(slices, config, console.log);
  const seed = overrides.seed ?? dataSeed(config); // prompts as the run was scored under
  const refs = limit(
    unseenSlices(slices.refs, { path, model: subject, log: console.log }),
    maxTest,
    seed,
  );

  const alike = await lookAlikes(subject.seen, { slices, refs });

  const sam = await subject.build(gpu, config);
  // Each slice is encoded once: nothing is worth keeping.
  using model = sliceModel(sam, { ...config, cacheMemory: 0, cacheDisk: 0 });
  const { result, seconds } = await score(model, {
    label: `${name} on ${dataset.name}`,
    data: { reader: slices, refs },
    options: { prompts: config.testPrompts, seed, batchSize: config.batchSize },
  });
  const scores = summarizeScores(result);
  const unprompted = unpromptedOf(result, { prompts: config.testPrompts, rule: subject.rule });
  const grid = unpromptedGrid({ rows: [{ model: name, unprompted }] });
  console.log(`\n${protocolText(scores.protocol)}${grid ? `\n${gridText(grid)}\n` : ""}`);
  const out = file ?? evaluationFile(path, data!);
  const weights = await weightsFile(config);
  const head = {
    model: name,
    experiment,
    dataset: dataset.name,
    config: {
      ...config,
      data: dataset.name,
      weights: config.weights && basename(config.weights),
      patients: config.patients && basename(config.patients),
      maxTest,
    },
    wholeVolumes: values.wholeVolumes,
    patients: new Set(refs.map(({ patient }) => patient)).size,
    lookLikeTrainingSlices: alike,
    secondsPerSlice: seconds / refs.length,
    ...scores,
    unprompted,
    environment: await describeEnvironment(withVersion(gpu.info), { command, weights }),
  };
  await writeFileAtomic(out, evaluationJson(head, result));
  console.log(`Written: ${out}`);
});
