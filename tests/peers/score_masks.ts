/**
 * Scores the masks of a peer by this project's metrics, in the column without a prompt, beside the rows of the study
 * whose slices they are of:
 *
 *     deno run -A tests/peers/score_masks.ts STUDY --part seed_0-fold_1 --data DIR [--healthy DIR] --masks MASKS.json.gz...
 *         [--out results/peers]
 *
 * --out writes the table, as PART.md, and the peer's curve.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { gunzipSync } from "node:zlib";
import { join } from "node:path";
import * as v from "valibot";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import { decodeRunLengths } from "../../lib/formats/run_length.ts";
import { summarizeUnprompted, type UnpromptedSlice } from "../../lib/evaluate/unprompted.ts";
import { displayName } from "../../lib/study/experiment.ts";
import { readRecords } from "../../lib/study/records.ts";
import { FILES, readRuns } from "../../lib/study/results.ts";
import type { StudyData } from "../../lib/study/study_data.ts";
import { lossCurves } from "../../lib/report/loss_curves.ts";
import { markdownTable } from "../../lib/report/markdown_table.ts";
import { paper } from "../../lib/report/palette.ts";
import { standalone } from "../../lib/report/svg.ts";
import { gridText, unpromptedGrid } from "../../lib/report/table.ts";
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

if (import.meta.main) {
  const { _: [study], part, data, healthy, out, masks } = parseArgs(Deno.args, {
    string: ["part", "data", "healthy", "masks", "out", "_"],
    collect: ["masks"],
  }) as {
    _: string[];
    part?: string;
    data?: string;
    healthy?: string;
    out?: string;
    masks: string[];
  };
  if (!study || !data || masks.length === 0) throw new Error("give STUDY, --data and --masks");
  const name = part ?? "";
  const found = await openPart(study, { part: name, data, healthy: healthy ?? null });
  const rows: Parameters<typeof unpromptedGrid>[0]["rows"][number][] = [];
  const records = await readRecords(join(study, FILES.records));
  for (const run of (await readRuns(study))!.filter((run) => run.part === name)) {
    const own = records.find((one) => one.part === name && one.row === run.experiment.name);
    if (!own) continue;
    const slices = [...own.slices, ...own.healthy ?? []];
    const rule = run.presence ?? null;
    rows.push({
      model: displayName(run.experiment),
      unprompted: {
        rules: rule ? [rule] : [],
        all: summarizeUnprompted([{ slices, rule: null }]),
        ...(rule && { ruled: summarizeUnprompted([{ slices, rule }]) }),
      },
    });
  }
  const peers = await Promise.all(
    masks.map(async (file) =>
      v.parse(masksSchema, JSON.parse(gunzipSync(await Deno.readFile(file)).toString()))
    ),
  );
  for (const peer of peers) {
    const slices = await scoreMasks(found, peer);
    rows.push({
      model: `${peer.model}, ${peer.hours.toFixed(2)} CPU hours`,
      unprompted: { rules: [], all: summarizeUnprompted([{ slices, rule: null }]) },
    });
  }
  const grid = unpromptedGrid({ rows })!;
  console.log(gridText(grid));
  if (out) {
    const curves = peers.map(({ model, curve }) => ({ name: model, metrics: curve.map(measured) }));
    await Deno.mkdir(out, { recursive: true });
    const svg = standalone(lossCurves(curves, paper), "Loss and Dice by epoch", paper.ground);
    await Deno.writeTextFile(join(out, `${name}.svg`), svg);
    const count = (slices: readonly unknown[]) => slices.length;
    const { parts, healthy: free } = found;
    const text = `# A peer on ${name} of ${study}

Trained on ${count(parts.train)} slices with tumour and ${
      count(free.train)
    } tumour-free ones, its curve on ${
      count(parts.validation)
    } inner ones with tumour, scored on the ${count(parts.test)} and ${
      count(free.test)
    } test slices, all those of the study, without a prompt:

${markdownTable(grid)}

![Loss and Dice by epoch](${name}.svg)
`;
    await Deno.writeTextFile(join(out, `${name}.md`), text);
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
