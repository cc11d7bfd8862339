// Masks of `./run predict` without a prompt, compared with the truth, against the Dice that `./run evaluate` has
// for the same slices without a prompt: of patients whom the adapter was neither trained nor chosen on.
//
// deno run -A tests/predict/equals_evaluate.ts --adapter ADAPTER [--data DIR]
//
// An adapter of the default study comes from `./run experiment lora_16 --out DIR` as DIR/adapters/lora_16, its
// data are the sample, which is the default. The committed adapter has seen them all.
import { parseArgs } from "@std/cli/parse-args";
import { join, resolve } from "node:path";
import { openDataset } from "../../lib/data/dataset.ts";
import { readSegmentation, readVolume } from "../../lib/data/read_volume.ts";
import { cut, planeOf, whole } from "../../lib/data/plane.ts";
import { isPresent, type PresenceRule, type PresenceScores } from "../../lib/evaluate/presence.ts";
import { dice } from "../../lib/metrics/metrics.ts";
import { maskName } from "../../lib/predict/mask_name.ts";
import { SAMPLE } from "../../lib/study/study_data.ts";
import { adapterPath } from "../../lib/study/shipped.ts";
import { mean } from "../../lib/stats/summary.ts";
import { runCommand } from "../experiments/command_line.ts";

/** A slice's Dice without a prompt by both commands, with the mask that counts alone. */
export interface ComparedSlice {
  readonly id: string;
  readonly patient: string;
  readonly evaluated: number;
  readonly predicted: number;
}

/** Runs a command, and throws what it says if it fails. */
async function run(args: readonly string[], cwd: string): Promise<void> {
  const { code, stderr } = await runCommand(args, { cwd });
  if (code !== 0) throw new Error(`./run ${args.join(" ")} failed: ${stderr}`);
}

/** Runs both commands in a folder, and compares the slices that evaluate scores. */
export async function compare(
  { adapter, data, folder, options = [] }: {
    adapter: string;
    data: string;
    folder: string;
    options?: readonly string[];
  },
): Promise<ComparedSlice[]> {
  const file = join(folder, "evaluation.json");
  const prompt = "whole-image";
  const path = resolve(adapterPath(adapter));
  await run(
    [
      "evaluate",
      path,
      "--data",
      resolve(data),
      "--test-prompts",
      prompt,
      "--out",
      file,
      ...options,
    ],
    folder,
  );
  const { slices, unprompted, config } = JSON.parse(await Deno.readTextFile(file)) as {
    slices: {
      id: string;
      caseId: string;
      patient: string;
      scores: Record<string, { dice: number }>;
      presence: PresenceScores;
    }[];
    unprompted: { rules: PresenceRule[] };
    config: { axis: 0 | 1 | 2; modality: string };
  };
  const dataset = await openDataset(resolve(data), { modality: config.modality });
  const chosen = new Set(slices.map(({ caseId }) => caseId));
  const cases = dataset.cases.filter(({ id }) => chosen.has(id));
  const out = join(folder, "masks");
  await run(
    ["predict", ...cases.map(({ image }) => image), "--adapter", path, "--out", out, ...options],
    folder,
  );
  const rule = unprompted.rules[0] ?? null;
  const compared: ComparedSlice[] = [];
  for (const { id, image, seg } of cases) {
    const mask = await readVolume(join(out, maskName({ id, path: image })));
    const truth = await readSegmentation(seg);
    const plane = planeOf(truth, config.axis);
    const bytes = ({ data }: { data: Float32Array }) => Uint8Array.from(data, (x) => Number(x > 0));
    for (const slice of slices.filter(({ caseId }) => caseId === id)) {
      const place = { ...whole(plane), index: Number(slice.id.split(":").at(-1)) };
      const [own, known] = [bytes(mask), bytes(truth)].map((all) => cut(all, plane, place));
      // A mask that does not count is left out of predict's volume; evaluate scores it, and says so apart.
      const counts = isPresent(slice.presence, rule);
      compared.push({
        id: slice.id,
        patient: slice.patient,
        evaluated: counts ? slice.scores[prompt].dice : 0,
        predicted: Number(dice(own, known).toFixed(6)), // as evaluate writes it
      });
    }
  }
  return compared;
}

/** Mean over patients, of each the mean over their slices, as evaluate's table has it. */
function overPatients(slices: readonly ComparedSlice[], of: "evaluated" | "predicted"): number {
  const own = Map.groupBy(slices, ({ patient }) => patient).values();
  return mean([...own].map((slices) => mean(slices.map((slice) => slice[of]))));
}

if (import.meta.main) {
  const { adapter, data } = parseArgs(Deno.args, {
    string: ["adapter", "data"],
    default: { data: SAMPLE },
  });
  if (!adapter) throw new Error("give --adapter");
  const folder = await Deno.makeTempDir();
  try {
    const slices = await compare({ adapter, data, folder });
    const differences = slices.map(({ evaluated, predicted }) => Math.abs(evaluated - predicted));
    for (const { id, evaluated, predicted } of slices) console.log(id, evaluated, predicted);
    console.log(
      `${slices.length} slices of ${
        new Set(slices.map(({ patient }) => patient)).size
      } patients: ` +
        `evaluate ${overPatients(slices, "evaluated")}, predict ${
          overPatients(slices, "predicted")
        }, ` +
        `largest difference of a slice ${Math.max(...differences)}`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
