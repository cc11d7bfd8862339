/**
 * Scores the masks of a peer by this project's metrics, in the column without a prompt, beside the rows of the study
 * whose slices they are of:
 *
 *     deno run -A tests/peers/score_masks.ts STUDY PART.masks.json.gz... --data DIR [--healthy DIR] [--out results/peers]
 *
 * The parts are scored together and each by itself; the study's rows count by the mean over its seeds. --out writes the
 * tables, as report.md, and the peer's curves.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { gunzipSync } from "node:zlib";
import { basename, join } from "node:path";
import * as v from "valibot";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import { decodeRunLengths } from "../../lib/formats/run_length.ts";
import { summarizeUnprompted, type UnpromptedSlice } from "../../lib/evaluate/unprompted.ts";
import { displayName } from "../../lib/study/experiment.ts";
import { readRecords } from "../../lib/study/records.ts";
import type { PresenceRule } from "../../lib/evaluate/presence.ts";
import { AUTOMATIC_PROMPTS } from "../../lib/evaluate/scored_prompts.ts";
import { compareModels, type ModelObservations } from "../../lib/stats/compare.ts";
import { FILES, readRuns } from "../../lib/study/results.ts";
import type { StudyData } from "../../lib/study/study_data.ts";
import { lossCurves } from "../../lib/report/loss_curves.ts";
import { markdownTable } from "../../lib/report/markdown_table.ts";
import { paper } from "../../lib/report/palette.ts";
import { standalone } from "../../lib/report/svg.ts";
import { gridText, type TextGrid, unpromptedGrid } from "../../lib/report/table.ts";
import { mean } from "../../lib/stats/summary.ts";
import type { EpochMetrics } from "../../lib/train/training.ts";
import { openPart } from "./export_slices.ts";

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** File of a peer's masks, as `nnunet_2d.py` writes it. */
export const masksSchema = v.object({
  /** Name of the peer in tables. */
  model: v.string(),
  /** CPU hours of training. */
  hours: v.number(),
  /** Validation Dice of each epoch. */
  curve: v.array(v.object({ epoch: count, trainLoss: v.number(), validationDice: v.number() })),
  /** Mask of each test slice as run lengths in the order of rows, beginning with those that are not mask. */
  masks: v.array(
    v.object({ id: v.string(), size: v.tuple([count, count]), counts: v.array(count) }),
  ),
});

/** Scores a peer's masks of the test slices of a part, with tumour and without. */
export async function scoreMasks(
  { slices, parts, healthy }: Pick<StudyData, "slices" | "parts" | "healthy">,
  { masks }: v.InferOutput<typeof masksSchema>,
): Promise<UnpromptedSlice[]> {
  const byId = new Map(masks.map(({ id, ...lengths }) => [id, lengths]));
  const scored: UnpromptedSlice[] = [];
  for (const ref of [...parts.test, ...healthy.test]) {
    const lengths = byId.get(ref.id);
    if (!lengths) throw new Error(`the masks lack slice ${ref.id}`);
    const { mask: truth } = await slices.read(ref);
    const { id, patient, width, height, spacing: [dx, dy] } = ref;
    if (lengths.size[0] !== height || lengths.size[1] !== width) {
      throw new Error(`the mask of ${id} is ${lengths.size}, not ${height},${width}`);
    }
    const grid = { level: "slice", shape: [width, height, 1], spacing: [dx, dy, 1] } as const;
    const scores = { "whole-image": scoreMask(decodeRunLengths(lengths), truth, grid) };
    scored.push({ id, patient, tumourPixels: ref.tumourVoxels, scores });
  }
  return scored;
}

/** Slices of a model in one part, with the rule by which its masks count. */
interface ScoredPart {
  readonly slices: readonly UnpromptedSlice[];
  readonly rule: PresenceRule | null;
}

/** Parts of a model by their names. */
type Model = ReadonlyMap<string, ScoredPart>;

/** The fold of a part of any seed: "fold_1" of "seed_0-fold_1". */
function foldOf(part: string): string {
  return part.replace(/^seed_\d+-/, "");
}

/** Models of a study by their names, in all seeds' parts of the same folds as those that are named. */
async function modelsOf(study: string, names: readonly string[]): Promise<Map<string, Model>> {
  const folds = names.map(foldOf);
  const models = new Map<string, Map<string, ScoredPart>>();
  const records = await readRecords(join(study, FILES.records));
  for (const { part, experiment, presence } of (await readRuns(study))!) {
    const own = records.find((one) => one.part === part && one.row === experiment.name);
    if (!own || !folds.includes(foldOf(part))) continue;
    const model = models.get(displayName(experiment)) ?? new Map<string, ScoredPart>();
    models.set(displayName(experiment), model);
    model.set(part, { slices: [...own.slices, ...own.healthy ?? []], rule: presence ?? null });
  }
  return models;
}

/** Table of models in the folds of the parts that are named. */
function tableOf(models: ReadonlyMap<string, Model>, names: readonly string[]): TextGrid {
  const folds = names.map(foldOf);
  const rows = [...models].map(([model, parts]) => {
    const own = [...parts].filter(([part]) => folds.includes(foldOf(part))).map(([, part]) => part);
    const rules = own.flatMap(({ rule }) => rule ?? []);
    const all = summarizeUnprompted(own.map(({ slices }) => ({ slices, rule: null })));
    return {
      model,
      unprompted: { rules, all, ...(rules.length > 0 && { ruled: summarizeUnprompted(own) }) },
    };
  });
  return unpromptedGrid({ rows })!;
}

/** Dice of the slices with tumour, every mask counted: of each the mean over seeds. */
function observationsOf(model: Model): ModelObservations {
  const tumours = [...model.values()].flatMap(({ slices }) =>
    slices.filter(({ tumourPixels }) => tumourPixels > 0)
  );
  return new Map(
    [...Map.groupBy(tumours, ({ id }) => id)].map(([id, seeds]) => [id, {
      group: seeds[0].patient,
      value: mean(seeds.map(({ scores }) => scores[AUTOMATIC_PROMPTS[0]]!.dice!)),
    }]),
  );
}

/** Sentences on each model's Dice minus the peer's. */
function differences(models: ReadonlyMap<string, Model>, peer: string): string[] {
  const observed = new Map([...models].map(([name, model]) => [name, observationsOf(model)]));
  const references = new Map(
    [...models.keys()].filter((name) => name !== peer).map((name) => [name, [peer]]),
  );
  const points = (value: number) => (100 * value).toFixed(1);
  return compareModels(observed, { references }).map(
    ({ model, difference, interval, patients, pHolm }) => {
      const between = interval ? ` (${interval.map(points).join(" to ")})` : "";
      return `- ${model}: ${
        points(difference)
      } points of Dice${between} over ${patients} patients, p = ${pHolm.toPrecision(2)}`;
    },
  );
}

if (import.meta.main) {
  const { _: [study, ...files], data, healthy, out } = parseArgs(Deno.args, {
    string: ["data", "healthy", "out", "_"],
  }) as { _: string[]; data?: string; healthy?: string; out?: string };
  if (!study || !data || files.length === 0) throw new Error("give STUDY, masks and --data");
  const names = files.map((file) => basename(file, ".masks.json.gz"));
  const models = await modelsOf(study, names);
  const seeds = Math.max(...[...models.values()].map((parts) => parts.size)) / names.length;
  const curves: Parameters<typeof lossCurves>[0][number][] = [];
  const counts: string[] = [];
  let peer = "";
  for (const [i, part] of names.entries()) {
    const content = gunzipSync(await Deno.readFile(files[i])).toString();
    const masks = v.parse(masksSchema, JSON.parse(content));
    const found = await openPart(study, { part, data, healthy: healthy ?? null });
    const slices = await scoreMasks(found, masks);
    peer = masks.model;
    models.set(peer, new Map([...models.get(peer) ?? [], [part, { slices, rule: null }]]));
    curves.push({ name: part, metrics: masks.curve.map(measured) });
    const { parts, healthy: free } = found;
    counts.push(
      `- ${part}: ${
        masks.hours.toFixed(2)
      } CPU hours, ${masks.curve.length} epochs; trained on ${parts.train.length} slices with tumour and ${free.train.length} tumour-free ones, its curve on ${parts.validation.length} inner ones with tumour, scored on ${parts.test.length} and ${free.test.length}`,
    );
  }
  const together = tableOf(models, names);
  console.log(gridText(together));
  if (out) {
    await Deno.mkdir(out, { recursive: true });
    const svg = standalone(lossCurves(curves, paper), "Loss and Dice by epoch", paper.ground);
    await Deno.writeTextFile(join(out, "curves.svg"), svg);
    const text = `# ${peer} on ${names.join(", ")} of ${study}

${counts.join("\n")}

Scored on all test slices of the study, without a prompt. The study's rows are means over its ${seeds} seeds, ${peer}'s of one:

${markdownTable(together)}

Against ${peer}, every mask counted (Wilcoxon's test over patients, Holm-adjusted):

${differences(models, peer).join("\n")}

![Loss and Dice by epoch](curves.svg)
${names.map((name) => `\n## ${name}\n\n${markdownTable(tableOf(models, [name]))}\n`).join("")}`;
    await Deno.writeTextFile(join(out, "report.md"), text);
  }
}

/** Metrics of an epoch, NaN where the peer's file has none. */
function measured(
  { epoch, trainLoss, validationDice }: v.InferOutput<typeof masksSchema>["curve"][number],
): EpochMetrics {
  const [trainDice, validationLoss, learningRate, steps, seconds] = Array(5).fill(NaN);
  return {
    epoch,
    trainLoss,
    trainDice,
    validationLoss,
    validationDice,
    learningRate,
    steps,
    seconds,
  };
}
