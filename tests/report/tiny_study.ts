import { join } from "node:path";
import { presets } from "../../lib/study/schema.ts";
import { encodeRunLengths } from "../../lib/formats/run_length.ts";
import type { Slice, SliceRef, SliceSet } from "../../lib/data/slices.ts";
import { columnsAt, dice } from "../../lib/metrics/metrics.ts";

/** Prompts that the tiny study was scored under. */
const PROMPTS = [
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
    tumourVoxels: mask.reduce((sum, pixel) => sum + pixel, 0),
  }));
  return {
    dataset: { name: "tiny" } as SliceSet["dataset"],
    refs,
    fingerprints: new Map(),
    crop: { tumourVoxels: 0, lostVoxels: 0, lostSlices: 0 },
    read: (ref) => {
      const { mask } = truths[refs.indexOf(ref)];
      const image = Float32Array.from(mask, (pixel, i) => 60 + 120 * pixel + i % 7);
      return Promise.resolve({ ref, image, mask } as Slice);
    },
  };
}

/** A mean with an interval round it. */
function score(mean: number, n = 6) {
  return { mean, sd: 0.0521, n, interval: [mean - 0.0113, mean + 0.0127] };
}

/** What a tiny study is made of. */
export interface TinyStudyOptions {
  /** Name of the data set. */
  dataset?: string;
  /** Experiments with the names that tables call them by; the first is vanilla, the second PEFT. */
  models?: Readonly<Record<string, string>>;
  simulated?: boolean;
}

/** Models of the tiny study. */
export const tinyModels: Readonly<Record<string, string>> = {
  vanilla: "Vanilla",
  peft: "PEFT",
  lora_4: "LoRA-4",
  lora_8: "LoRA-8",
};

/** Writes what a study leaves, with invented figures, into a new folder. */
export async function tinyStudy(options: TinyStudyOptions = {}): Promise<string> {
  const { dataset = "tiny", models = tinyModels, simulated = false } = options;
  const folder = await Deno.makeTempDir();
  const write = async (path: string, value: unknown) => {
    await Deno.mkdir(join(folder, path, ".."), { recursive: true });
    await Deno.writeTextFile(join(folder, path), JSON.stringify(value));
  };
  const kindOf = (name: string) => name.replace(/_.*/, "");
  const names = Object.keys(models);
  const diceOf = (i: number) =>
    Object.fromEntries(
      PROMPTS.map((prompt, p) => [prompt, score(0.8123 - 0.0517 * p + 0.0171 * i)]),
    );
  const rows: Record<string, unknown>[] = [];
  for (const [i, name] of names.entries()) {
    const kind = kindOf(name);
    const rank = kind === "lora" ? Number(name.split("_")[1]) : undefined;
    const masks = truths.map((_, j) => disc(12 + j + (i % 2), 15 + (i >> 1), 4 + j));
    const slices = truths.map(({ id, patient, mask }, j) => ({
      id,
      patient,
      tumourPixels: mask.reduce((sum, pixel) => sum + pixel, 0),
      scores: { "tight-box": { dice: Math.round(1e6 * dice(masks[j], mask)) / 1e6 } },
    }));
    const metrics = {
      dice: score(0.81 + 0.01 * i),
      ...Object.fromEntries(
        columnsAt("slice").map((name, m) => [name, score(0.7 + 0.02 * i - 0.1 * m)]),
      ),
    };
    await write(`${name}/summary.json`, {
      experiment: { name, kind, ...(rank && { rank }) },
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
      protocol: {
        prompts: Object.fromEntries(PROMPTS.map((prompt) => [prompt, {
          slices: metrics,
          cases: metrics,
          strata: { small: score(0.7, 2), medium: score(0.8, 2), large: score(0.9, 2) },
        }])),
        clicks: [0.6, 0.7, 0.75, 0.78, 0.8].map((mean) => score(mean + 0.01 * i)),
        strataEdges: [100, 200],
      },
    });
    await write(`${name}/config.json`, {
      experiment: { name, kind },
      config: { ...presets.full.config, data: dataset, side: 64 },
      data: { crop: { tumourVoxels: 5000, lostVoxels: 7, lostSlices: 1 } },
    });
    await write(`${name}/scores.json`, slices);
    await write(
      `${name}/masks.json`,
      truths.map(({ id }, j) => ({
        id,
        ...encodeRunLengths(masks[j], { width: SIDE, height: SIDE }),
      })),
    );
    await write(`${name}/split.json`, { seed: 3, train: ["T1"], validation: ["V1"], test: ["X1"] });
    await write(`${name}/environment.json`, {
      adapter: { name: "a tiny GPU", type: "CPU", driver: "none" },
      deno: "2.9.6",
      os: "linux",
      samlora: "0.1.0",
      commit: null,
      weights: "none",
      command: "./run experiments --out tiny",
      date: "2026-01-02T03:04:05.000Z",
    });
    if (kind !== "vanilla") {
      const epochs = [0.5, 0.6, 0.55].map((validationDice, e) =>
        JSON.stringify({
          epoch: e + 1,
          trainLoss: 0.5 - 0.1 * e,
          trainDice: 0.5 + 0.1 * e,
          validationLoss: e === 2 ? null : 0.6,
          validationDice,
        }) + "\n"
      );
      await Deno.writeTextFile(join(folder, name, "metrics.jsonl"), epochs.join(""));
    }
    rows.push({
      model: models[name],
      kind,
      dice: diceOf(i),
      ...(kind !== "vanilla" && {
        trainableParameters: 1234 * i,
        secondsPerStep: 1.25,
        trainSeconds: 77,
        peakGpuBytes: 3 * 2 ** 20,
        bestEpoch: 2,
      }),
    });
  }
  rows.push({ model: "All ones", kind: "trivial", dice: { "tight-box": score(0.04) } });
  rows.push({ model: "Filled box", kind: "trivial", dice: { "tight-box": score(0.79) } });
  await write("table.json", {
    context: {
      dataset,
      simulated,
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
    rows,
  });
  await write("statistics.json", [{
    prompt: "tight-box",
    metric: "dice",
    comparisons: names.slice(1).map((name, i) => ({
      model: models[name],
      reference: models[names[0]],
      difference: 0.0171 * (i + 1),
      interval: [0.004, 0.032],
      patients: 3,
      p: 0.02,
      pHolm: i === 0 ? 0.04 : 0.2,
    })),
  }]);
  return folder;
}
