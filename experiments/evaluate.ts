// ./run evaluate ADAPTER --data DIR: scores an adapter on any data set, under the whole protocol.
import { basename } from "node:path";
import { loadSam, weightsFile } from "../lib/files/pretrained.ts";
import { openDataset } from "../lib/data/dataset.ts";
import type { SliceRef, SliceSet } from "../lib/data/slices.ts";
import { pictureOf, Thumbnails } from "../lib/data/thumbnails.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import type { Gpu } from "../lib/gpu/gpu.ts";
import { Progress } from "../lib/study/progress.ts";
import { plural } from "../lib/report/format.ts";
import { protocolText } from "../lib/report/protocol_table.ts";
import { gridText, unpromptedGrid } from "../lib/report/table.ts";
import type { Sam } from "../lib/sam/sam.ts";
import { type ProtocolResult, runProtocol } from "../lib/evaluate/protocol.ts";
import type { PresenceRule } from "../lib/evaluate/presence.ts";
import { AUTOMATIC_PROMPTS } from "../lib/evaluate/scored_prompts.ts";
import { summarizeUnprompted } from "../lib/evaluate/unprompted.ts";
import { adapterWeights } from "../lib/adapters/adapter.ts";
import { applyAdapter } from "../lib/adapters/apply_adapter.ts";
import {
  lookAlikeSentence,
  openAdapter,
  ownWeights,
  presenceRule,
  readOrigin,
  requireBase,
  trainingSlices,
} from "../lib/study/adapter.ts";
import { pick } from "../lib/study/command_line.ts";
import { type Config, configFields, dataSeed, DEFAULTS, parseConfig } from "../lib/study/schema.ts";
import { displayName, type Experiment } from "../lib/study/experiment.ts";
import { describeAdapter, describeEnvironment } from "../lib/study/environment.ts";
import { runCommand } from "../lib/study/main.ts";
import { buildModel, restoreWeights, sliceModel } from "../lib/study/model.ts";
import { rounded } from "../lib/study/records.ts";
import { linesJson, type Origin } from "../lib/study/results.ts";
import { summarizeScores } from "../lib/study/statistics.ts";
import { limit, openSlicesWithProgress, tellData } from "../lib/study/study_data.ts";
import { openGpu, withVersion } from "../lib/study/device.ts";
import { commands, evaluationFile } from "./commands.ts";

/** Model to score. */
interface Subject {
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

/** The model that the command line names. */
async function openSubject(path: string, overrides: Partial<Config>): Promise<Subject> {
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

/** Slices of patients that the model was neither trained nor chosen on, as far as that is known. */
function unseenSlices(
  refs: readonly SliceRef[],
  path: string,
  { experiment, split }: Subject,
): readonly SliceRef[] {
  if (experiment === null) {
    console.log("An adapter does not say which patients it was trained on: scored on all.");
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
    console.log(
      `Left out: ${plural(count, "slice")} of patients that the run was trained or chosen on.`,
    );
  }
  return unseen;
}

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

await runCommand(commands.evaluate, async ({ argument: path, given, values, line: command }) => {
  const { data, maxTest, out: file } = values;
  const overrides = pick(given, configFields);
  const subject = await openSubject(path, overrides);
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
  console.log(`${dataset.name}: ${dataset.grouping}, ${plural(slices.refs.length, "slice")}.`);
  tellData(slices, config, console.log);
  const seed = overrides.seed ?? dataSeed(config); // prompts as the run was scored under
  const refs = limit(unseenSlices(slices.refs, path, subject), maxTest, seed);

  const alike = await lookAlikes(subject.seen, { slices, refs });

  const sam = await subject.build(gpu, config);
  // Each slice is encoded once: nothing is worth keeping.
  using model = sliceModel(sam, { ...config, cacheMemory: 0, cacheDisk: 0 });
  const progress = new Progress({ label: `${name} on ${dataset.name}`, total: refs.length });
  const start = performance.now();
  const result = rounded(
    await runProtocol(model, { reader: slices, refs }, {
      prompts: config.testPrompts,
      seed,
      batchSize: config.batchSize,
      onProgress: (done) => progress.update({ done }),
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  const scores = summarizeScores(result);
  const patients = new Set(refs.map(({ patient }) => patient)).size;
  progress.finish(
    `${name} on ${dataset.name}: ${plural(refs.length, "slice")} of ` +
      `${plural(result.cases.length, "case")}, ${plural(patients, "patient")}, ${
        (seconds / refs.length).toFixed(2)
      } s a slice`,
  );
  const { rule } = subject;
  const of = (rule: PresenceRule | null) => summarizeUnprompted([{ slices: result.slices, rule }]);
  const unprompted = config.testPrompts.some((prompt) => AUTOMATIC_PROMPTS.includes(prompt))
    ? { rules: rule ? [rule] : [], all: of(null), ...(rule && { ruled: of(rule) }) }
    : undefined;
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
    patients,
    lookLikeTrainingSlices: alike,
    secondsPerSlice: seconds / refs.length,
    ...scores,
    unprompted,
    environment: await describeEnvironment(withVersion(gpu.info), { command, weights }),
  };
  await writeFileAtomic(out, evaluationJson(head, result));
  console.log(`Written: ${out}`);
});
