import { assertAlmostEquals, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import type { ProtocolSlice } from "../../lib/evaluate/protocol.ts";
import type { RawTensor } from "../../lib/formats/raw_tensor.ts";
import { loadAdapter } from "../../lib/study/adapter_folder.ts";
import { computeTable } from "../../lib/study/comparison.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { readRecords, type Records, type SliceRecord } from "../../lib/study/records.ts";
import { readRuns, type Run } from "../../lib/study/results.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

/** Options of a study's one adapter row. */
export const rowOptions = [
  "--preset",
  "study",
  "--side",
  "64",
  "--epochs",
  "2",
  "--batch-size",
  "2",
];
/** Options of a study. */
export const options = [...rowOptions, "--ranks", "4"];

/** The folder of a test file's studies, with a data set of six tiny patients. */
export const folder = await tinyDataset(6);
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** Reads a text of that folder. */
export const read = (...path: string[]) => Deno.readTextFile(join(folder, ...path));
/** Reads JSON of that folder. */
export const readJson = async (...path: string[]) => JSON.parse(await read(...path));

/** The run of a row. */
export async function runOf(out: string, row: string, part = ""): Promise<Run> {
  const runs = await readRuns(join(folder, out));
  return runs!.find((run) => run.part === part && run.experiment.name === row)!;
}

/** The records of a row. */
export async function recordsOf(out: string, row: string): Promise<Records> {
  const records = await readRecords(join(folder, out, "records.json.gz"));
  return records.find((one) => one.row === row)!;
}

/** Scores of an evaluation as studies record them. */
export function recorded(slices: ProtocolSlice[]): SliceRecord[] {
  const text = JSON.stringify(slices, (key, value) => key === "predicted" ? undefined : value);
  return JSON.parse(text);
}

/** The trained weights of a row. */
export async function tensorsOf(out: string, row: string): Promise<ReadonlyMap<string, RawTensor>> {
  return (await loadAdapter(join(folder, out, "adapters", row))).tensors;
}

/** Runs the study of vanilla, PEFT and LoRA-4. */
export async function study(out: string, ...more: string[]): Promise<void> {
  const args = ["--data", "data", "--out", out, ...options, ...more];
  const { code, stdout, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertMatch(stdout, /^Adapter: .+ \((GPU|CPU)\)/);
}

/** Asserts that a study's table is what its runs and records come to. */
export async function assertRecomputed(out: string): Promise<void> {
  const { table, ...files } = await readStudyFiles(join(folder, out));
  const again = computeTable(table.context, files);
  assertEquals(JSON.parse(JSON.stringify(again)), table);
  // A slice that scores otherwise is seen.
  const [first] = files.records;
  const dice = first.slices[0].scores["tight-box"]! as { dice: number };
  dice.dice -= 0.1;
  assertNotEquals(JSON.parse(JSON.stringify(computeTable(table.context, files))), table);
}

/** Asserts that a trained row scores again, slice for slice, as it did at its end, by its adapter alone. */
export async function assertScoresAgain(
  out: string,
  { row, model }: { row: string; model: string },
): Promise<void> {
  // Model, side and preparation come from its file, and so do the patients it must not be scored on.
  const path = join(out, "adapters", row);
  const { code, stdout, stderr } = await runCommand(["evaluate", path, "--data", "data"], {
    cwd: folder,
  });
  assertEquals(code, 0, stdout + stderr);
  const evaluation = await readJson(path, "evaluation-data.json");
  assertEquals([evaluation.config.side, evaluation.cases.length], [64, 1]);
  const { slices } = await recordsOf(out, row);
  assertEquals(recorded(evaluation.slices), slices as unknown);
  const { rows } = await readJson(out, "table.json");
  const { dice } = rows.find((found: { model: string }) => found.model === model);
  assertAlmostEquals(evaluation.dice["tight-box"].mean, dice["tight-box"].mean, 1e-6);
}
