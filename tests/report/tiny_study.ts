import { join } from "node:path";
import type { Slice, SliceRef, SliceSet } from "../../lib/data/slices.ts";
import { encodeRunLengths } from "../../lib/formats/run_length.ts";
import { DEFAULTS, PLAIN } from "../../lib/study/schema.ts";
import type { ExperimentKind } from "../../lib/study/experiment.ts";
import { encodeRecords, type Records, rounded } from "../../lib/study/records.ts";
import { type ComparisonTable, linesJson, type Run, tableJson } from "../../lib/study/results.ts";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import type { ScoredPrompt } from "../../lib/evaluate/scored_prompts.ts";

/** Prompts that the tiny study was scored under. */
const PROMPTS: readonly ScoredPrompt[] = [
  "tight-box",
  "jittered-box-5",
  "jittered-box",
  "jittered-box-40",
  "point",
  "clicks-3",
  "whole-image",
];

const SIDE = 32;

/** A disc of a radius on a grid of 32 x 32. */
function disc(x: number, y: number, radius: number): Uint8Array {
  return Uint8Array.from(
    { length: SIDE * SIDE },
    (_, i) => Number((i % SIDE - x) ** 2 + (Math.floor(i / SIDE) - y) ** 2 < radius * radius),
  );
}

/** Six slices of three patients, with tumours of different sizes. */
const truths = [4, 5, 6, 7, 8, 9].map((radius, i) => ({
  id: `TINY-MEN-0000${1 + (i >> 1)}-000:2:${i}`,
  patient: `TINY-MEN-0000${1 + (i >> 1)}`,
  mask: disc(12 + i, 15, radius),
}));

/** The slices of the tiny study. */
export function tinySlices(): SliceSet {
  const refs = truths.map(({ id, patient, mask }, index): SliceRef => ({
    id,
    caseId: `${patient}-000`,
    patient,
    axis: 2,
    index,
    width: SIDE,
    height: SIDE,
    spacing: [1, 1],
    sliceSpacing: 1,
    orientation: null,
    depth: truths.length,
    tumourVoxels: mask.reduce((sum, pixel) => sum + pixel, 0),
  }));
  return {
    dataset: { name: "tiny" } as SliceSet["dataset"],
    refs,
    fingerprints: new Map(),
    crop: { tumourVoxels: 0, lostVoxels: 0, lostSlices: 0 },
    notes: [],
    labels: null,
    read: (ref) => {
      const { mask } = truths[refs.indexOf(ref)];
      const image = Float32Array.from(mask, (pixel, i) => 60 + 120 * pixel + i % 7);
      return Promise.resolve({ ref, image, mask } as Slice);
    },
  };
}

/** A mean with an interval round it. */
function score(mean: number, n = 6) {
  return { mean, sd: 0.0521, n, interval: [mean - 0.0113, mean + 0.0127] as const };
}

/** Names and size of a tiny study. */
export interface TinyStudyOptions {
  /** Name of the data set. */
  dataset?: string;
  /** Experiments with the names that tables call them by; the first is vanilla, the second PEFT. */
  models?: Readonly<Record<string, string>>;
  /** Parts of a cross-validation; a study of one part has none. */
  parts?: readonly string[];
}

/** Models of the tiny study. */
export const tinyModels: Readonly<Record<string, string>> = {
  vanilla: "Vanilla",
  peft: "PEFT",
  lora_4: "LoRA-4",
  lora_8: "LoRA-8",
};

/** Kind of an experiment by its name. */
const kindOf = (name: string) => name.replace(/_.*/, "") as ExperimentKind;

/** Entry of `runs.json` for the model at an index. */
function runOf(name: string, i: number, { dataset, part }: { dataset: string; part: string }): Run {
  const kind = kindOf(name);
  const epochs = [0.5, 0.6, 0.55].map((validationDice, e) => ({
    epoch: e + 1,
    trainLoss: 0.5 - 0.1 * e,
    trainDice: 0.5 + 0.1 * e,
    validationLoss: e === 2 ? NaN : 0.6,
    validationDice,
    learningRate: 1e-3,
    steps: 2,
    seconds: 1,
  }));
  return {
    part,
    experiment: { name, kind, ...(kind === "lora" && { rank: Number(name.split("_")[1]) }) },
    config: { ...DEFAULTS, ...PLAIN, data: dataset, side: 64 },
    data: {
      cases: 3,
      train: { patients: 9, slices: 40 },
      validation: { patients: 1, slices: 2 },
      test: { patients: 3, slices: 6 },
      crop: { tumourVoxels: 5000, lostVoxels: 7, lostSlices: 1 },
    },
    environment: {
      adapter: { name: "a tiny GPU", type: "CPU", driver: "none" },
      deno: "2.9.6",
      os: "linux",
      samlora: "0.1.0",
      commit: null,
      weights: "none",
      command: "./run experiments --out tiny",
      date: "2026-01-02T03:04:05.000Z",
    },
    split: {
      seed: 3,
      train: ["T1"],
      validation: ["V1"],
      test: ["X1"],
      validationSharesTrainingPatients: false,
    },
    epochs: kind === "vanilla" ? [] : epochs,
    summary: {
      trainableParameters: kind === "vanilla" ? 0 : 1234 * i,
      stoppedEarly: name === "lora_8",
      ...(name === "peft" && { earlyStoppingEpoch: 2 }),
      placement: [
        {
          part: "image_encoder.layers.0.blocks.0",
          parameters: 100,
          trained: 0,
          adapters: kind === "lora" ? { "attn.qkv": 1234 } : {},
        },
        { part: "mask_decoder", parameters: 50, trained: kind === "peft" ? 50 : 0, adapters: {} },
      ],
    },
  };
}

/** Scores of the model at an index: its masks lie beside the truth. */
function recordsOf(row: string, i: number, part: string): Records {
  const masks = truths.map((_, j) => disc(12 + j + (i % 2), 15 + (i >> 1), 4 + j));
  const grid = { shape: [SIDE, SIDE, 1], spacing: [1, 1, 1] } as const;
  const scored = (level: "slice" | "case") => (j: number) =>
    Object.fromEntries(
      PROMPTS.map((prompt) => [prompt, scoreMask(masks[j], truths[j].mask, { ...grid, level })]),
    );
  const slices = truths.map(({ id, patient, mask }, j) => ({
    id,
    caseId: `${patient}-000`,
    patient,
    tumourPixels: mask.reduce((sum, pixel) => sum + pixel, 0),
    scores: scored("slice")(j),
    clicks: [0.6, 0.7, 0.75, 0.78, 0.8].map((dice) => dice + 0.01 * i),
  }));
  const cases = [0, 2, 4].map((j) => ({
    id: slices[j].caseId,
    patient: slices[j].patient,
    slices: 2,
    scores: scored("case")(j),
  }));
  return {
    part,
    row,
    trivial: false,
    slices: rounded(slices),
    cases: rounded(cases),
    masks: truths.map(({ id }, j) => ({
      id,
      ...encodeRunLengths(masks[j], { width: SIDE, height: SIDE }),
    })),
    sample: null,
  };
}

/** Table of a tiny study, with invented figures. */
function tableOf(dataset: string, models: Readonly<Record<string, string>>): ComparisonTable {
  const names = Object.keys(models);
  const none = { accuracy: null, peftComparison: null, vanillaComparison: null, references: {} };
  const tests = names.map((_, i) => ({
    difference: 0.0171 * i,
    interval: [0.004, 0.032] as const,
    patients: 3,
    p: 0.02,
    pHolm: i === 1 ? 0.04 : 0.2,
  }));
  const trivial = (model: string, mean: number) =>
    ({ model, kind: "trivial", dice: { "tight-box": score(mean) }, ...none }) as const;
  return {
    context: {
      dataset,
      baseModel: "MobileSAM",
      side: 64,
      seed: 0,
      epochs: 3,
      adapter: "a tiny GPU (CPU)",
      command: "./run experiments --out tiny",
      splits: { train: { patients: 9, slices: 40 }, test: { patients: 3, slices: 6 } },
      scoredOn: "test",
      primaryPrompt: "tight-box",
    },
    rows: [
      ...names.map((name, i) => ({
        model: models[name],
        kind: kindOf(name),
        dice: Object.fromEntries(
          PROMPTS.map((prompt, p) => [prompt, score(0.8123 - 0.0517 * p + 0.0171 * i)]),
        ),
        ...(kindOf(name) !== "vanilla" && {
          trainableParameters: 1234 * i,
          secondsPerStep: 1.25,
          trainSeconds: 77,
          peakGpuBytes: 3 * 2 ** 20,
          bestEpoch: 2,
        }),
        ...none,
        ...(i > 0 && { references: { vanilla: models[names[0]] }, tests: { vanilla: tests[i] } }),
        // Against PEFT nothing was tested.
        ...(i > 1 && { peftComparison: 1.71 * (i - 1) }),
      })),
      trivial("All ones", 0.04),
      trivial("Filled box", 0.79),
    ],
    statistics: [{
      prompt: "tight-box",
      metric: "dice",
      comparisons: names.slice(1).map((name, i) => ({
        model: models[name],
        reference: models[names[0]],
        ...tests[i + 1],
        statistic: 0,
        n: 3,
        method: "exact",
      })),
    }],
    verdicts: [],
  };
}

/** Files that a study leaves, by name. */
export async function tinyFiles(
  { dataset = "tiny", models = tinyModels, parts = [""] }: TinyStudyOptions = {},
): Promise<Record<string, Uint8Array>> {
  const runs = parts.flatMap((part) =>
    Object.entries(models).map(([name, label], i) => {
      const run = runOf(name, i, { dataset, part });
      return label === tinyModels[name]
        ? run
        : { ...run, experiment: { ...run.experiment, label } };
    })
  );
  const records = parts.flatMap((part) =>
    Object.keys(models).map((name, i) => recordsOf(name, i, part))
  );
  const text = (content: string) => new TextEncoder().encode(content);
  return {
    "runs.json": text(linesJson(runs)),
    "records.json.gz": await encodeRecords(records),
    "table.json": text(tableJson(tableOf(dataset, models))),
  };
}

/** Writes what a study leaves into a new folder. */
export async function tinyStudy(options: TinyStudyOptions = {}): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const [name, content] of Object.entries(await tinyFiles(options))) {
    await Deno.writeFile(join(folder, name), content);
  }
  return folder;
}

/** Changes the runs of a tiny study. */
export async function changeRuns(folder: string, change: (run: Run) => unknown): Promise<void> {
  const path = join(folder, "runs.json");
  const runs: Run[] = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify(runs.map(change)));
}
