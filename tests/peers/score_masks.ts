/**
 * Scores the masks of a peer by this project's metrics, in the column without a prompt, beside the rows of the study
 * whose slices they are of:
 *
 *     deno run -A tests/peers/score_masks.ts STUDY --part seed_0-fold_1 --data DIR [--healthy DIR] --masks MASKS.json.gz...
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
import { gridText, unpromptedGrid } from "../../lib/report/table.ts";
import { openPart } from "./export_slices.ts";

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** File of a peer's masks, as `nnunet_2d.py` writes it. */
export const masksSchema = v.object({
  /** Name of the peer in tables. */
  model: v.string(),
  /** Hours of training. */
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
  const { _: [study], part, data, healthy, masks } = parseArgs(Deno.args, {
    string: ["part", "data", "healthy", "masks", "_"],
    collect: ["masks"],
  }) as { _: string[]; part?: string; data?: string; healthy?: string; masks: string[] };
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
  for (const file of masks) {
    const peer = v.parse(masksSchema, JSON.parse(gunzipSync(await Deno.readFile(file)).toString()));
    const slices = await scoreMasks(found, peer);
    rows.push({
      model: `${peer.model}, ${peer.hours.toFixed(2)} h`,
      unprompted: { rules: [], all: summarizeUnprompted([{ slices, rule: null }]) },
    });
    const dice = peer.curve.map(({ validationDice }) => validationDice.toFixed(3));
    console.log(`${peer.model}: inner validation Dice by epoch ${dice.join(" ")}`);
  }
  console.log(gridText(unpromptedGrid({ rows })!));
}
