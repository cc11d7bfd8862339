import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { decode } from "fast-png";
import { join } from "node:path";
import { metricsAt } from "../../lib/metrics/metrics.ts";
import type { ProtocolSlice } from "../../lib/evaluate/protocol.ts";
import { PROTOCOL } from "../../lib/evaluate/scored_prompts.ts";
import { type RawTensor, toFloat32 } from "../../lib/formats/raw_tensor.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { computeTable } from "../../lib/study/comparison.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { readRecords, type Records, type SliceRecord } from "../../lib/study/records.ts";
import { readRuns, type Run } from "../../lib/study/results.ts";
import { killCommand, runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";
import { mobileSamState } from "../sam/pretrained.ts";

/** Fields of a table's row that are read here. */
interface Row {
  readonly dice: Record<string, { readonly n: number }>;
}

/** Options of its one adapter row, and of the study. */
const rowOptions = ["--side", "64", "--epochs", "2", "--batch-size", "2"];
const options = [...rowOptions, "--ranks", "4"];

/** A finished study of six tiny patients, run twice with one seed. */
const folder = await tinyDataset(6);
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

const read = (...path: string[]) => Deno.readTextFile(join(folder, ...path));
const readJson = async (...path: string[]) => JSON.parse(await read(...path));

async function runOf(out: string, row: string, part = ""): Promise<Run> {
  const runs = await readRuns(join(folder, out));
  return runs!.find((run) => run.part === part && run.experiment.name === row)!;
}

async function recordsOf(out: string, row: string): Promise<Records> {
  const records = await readRecords(join(folder, out, "records.json.gz"));
  return records.find((one) => one.row === row)!;
}

/** Scores of an evaluation as studies record them. */
function recorded(slices: ProtocolSlice[]): SliceRecord[] {
  const text = JSON.stringify(slices, (key, value) => key === "predicted" ? undefined : value);
  return JSON.parse(text);
}

async function tensorsOf(out: string, row: string): Promise<ReadonlyMap<string, RawTensor>> {
  return (await loadAdapter(join(folder, out, "adapters", row))).tensors;
}

async function study(out: string, ...more: string[]): Promise<void> {
  const args = ["--data", "data", "--out", out, ...options, ...more];
  const { code, stdout, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertMatch(stdout, /^Adapter: .+ \((GPU|CPU)\)/);
}

Deno.test("a whole tiny study writes every file, and its table holds every row", async () => {
  await study("first");
  const files = (...path: string[]) =>
    [...Deno.readDirSync(join(folder, ...path))].map(({ name }) => name).sort();
  assertEquals(files("first"), [
    "adapters",
    "loss_curves.svg",
    "masks.png",
    "records.json.gz",
    "report",
    "report.html",
    "report.md",
    "runs.json",
    "table.json",
    "table.md",
  ]);
  assertEquals(files("first", "adapters"), ["lora_4", "peft"]);

  const { rows } = await readJson("first", "table.json");
  assertEquals(
    rows.map(({ model }: { model: string }) => model),
    ["Vanilla", "PEFT", "LoRA-4", "All ones", "Filled box", "Inscribed ellipse"],
  );
  for (const row of rows) {
    const { mean, n } = row.dice["tight-box"];
    assert(mean >= 0 && mean <= 1 && n === 2, JSON.stringify(row));
  }
  const [vanilla, peft, lora] = rows;
  assertEquals(vanilla.trainableParameters, 0);
  assertEquals(peft.trainableParameters, 4_058_340);
  // 2 blocks of width 128, 6 of 160 and 2 of 320, each with A [4, d] and B [3 d, 4].
  assertEquals(lora.trainableParameters, 4 * 4 * (2 * 128 + 6 * 160 + 2 * 320));
  assertEquals(lora.vanillaComparison, lora.accuracy - vanilla.accuracy);

  assertEquals(lora.tests.vanilla.patients, 1);
  assertEquals(Object.keys(lora.dice), [...PROTOCOL]);

  const markdown = await read("first", "table.md");
  assertStringIncludes(markdown, "| Model | Accuracy (Dice, %) | PEFT comparison | p (PEFT) |");
  assert(!markdown.includes(folder), "the table names a folder of this machine");
  const png = decode(await Deno.readFile(join(folder, "first", "masks.png")));
  assert(png.width > 500 && png.height > 200);
  assertStringIncludes(await read("first", "loss_curves.svg"), "LoRA-4");
});

Deno.test("every slice and case is scored under the whole protocol, and every prompt is tested", async () => {
  const { table, records } = await readStudyFiles(join(folder, "first"));
  const { slices: [slice], cases, masks } = records.find(({ row }) => row === "lora_4")!;
  assertEquals(Object.keys(slice.scores), [...PROTOCOL]);
  assertEquals(slice.clicks!.length, 5);
  const metrics = [...metricsAt("slice"), "truth"].sort();
  assertEquals(Object.keys(slice.scores["clicks-5"]!).sort(), metrics);
  assert(masks.some(({ id }) => id === slice.id));
  assertEquals(cases.map(({ slices }) => slices), [2]);
  assertEquals(Object.keys(cases[0].scores), [...PROTOCOL]);
  const families = table.statistics.map(({ prompt, metric }) => `${prompt} ${metric}`);
  for (const prompt of PROTOCOL) assert(families.includes(`${prompt} dice`), prompt);
  const [{ comparisons }] = table.statistics;
  assertEquals(
    comparisons.map(({ model, reference }) => `${model} - ${reference}`),
    ["PEFT - Vanilla", "LoRA-4 - Vanilla", "LoRA-4 - PEFT"],
  );
});

Deno.test("the split keeps patients apart and the metrics hold an entry an epoch", async () => {
  const { split, epochs, summary } = await runOf("first", "lora_4");
  const all = [...split.train, ...split.validation, ...split.test];
  assertEquals(new Set(all).size, 6);
  assertEquals(all.length, 6);
  assertEquals(epochs.map(({ epoch }) => epoch), [1, 2]);
  const [first, second] = epochs.map(({ validationDice }) => validationDice);
  assertEquals(summary!.bestEpoch, second > first ? 2 : 1);
});

/** Asserts that a study's table is what its runs and records come to. */
async function assertRecomputed(out: string): Promise<void> {
  const { table, ...files } = await readStudyFiles(join(folder, out));
  const again = computeTable(table.context, files);
  assertEquals(JSON.parse(JSON.stringify(again)), table);
  // A slice that scores otherwise is seen.
  const [first] = files.records;
  const dice = first.slices[0].scores["tight-box"]! as { dice: number };
  dice.dice -= 0.1;
  assertNotEquals(JSON.parse(JSON.stringify(computeTable(table.context, files))), table);
}

Deno.test("every figure of a table comes out of the records again", () =>
  assertRecomputed("first"));

Deno.test("the same seed gives the same adapters, bit for bit, and the same scores", async () => {
  await study("second", "--wise-ft", "0.25");
  for (const run of ["peft", "lora_4"]) {
    assertEquals(await tensorsOf("first", run), await tensorsOf("second", run), run);
  }
  for (const run of ["vanilla", "peft", "lora_4"]) {
    assertEquals(await recordsOf("first", run), await recordsOf("second", run));
  }
});

Deno.test("--wise-ft scores trained rows once more, drawn back towards the pretrained weights", async () => {
  const { rows } = await readJson("second", "table.json");
  assertEquals(rows.map(({ model }: { model: string }) => model).slice(0, 5), [
    "Vanilla",
    "PEFT",
    "PEFT, WiSE-FT 0.25",
    "LoRA-4",
    "LoRA-4, WiSE-FT 0.25",
  ]);
  const weightsOf = async (run: string) => {
    const tensors = await tensorsOf("second", run);
    return new Map([...tensors].map(([name, raw]) => [name, toFloat32(raw)]));
  };
  const adapters = await weightsOf("lora_4");
  for (const [name, drawn] of await weightsOf("lora_4_wise_0_25")) {
    const share = name.includes("lora_B") ? 0.25 : 1;
    assertEquals(drawn, adapters.get(name)!.map((value) => share * value), name);
  }
  const [pretrained, decoder] = [await mobileSamState(), await weightsOf("peft")];
  let moved = 0;
  for (const [name, drawn] of await weightsOf("peft_wise_0_25")) {
    const before = pretrained.get(name)!.data;
    const after = decoder.get(name)!;
    drawn.forEach((value, i) => {
      assertAlmostEquals(value, before[i] + 0.25 * (after[i] - before[i]), 1e-6, name);
      moved = Math.max(moved, Math.abs(value - before[i]));
    });
  }
  assert(moved > 1e-5, `${moved}`);
  const { summary } = await runOf("second", "lora_4_wise_0_25");
  assertEquals([summary!.trainableParameters, summary!.trainSeconds], [29_696, undefined]);
});

Deno.test("options that save memory change no number, and are written down", async () => {
  const memory = ["--checkpoint-activations", "--cache-memory", "0", "--cache-disk", "64"];
  const args = ["lora_4", "--data", "data", "--out", "frugal", ...rowOptions, ...memory];
  const { code, stdout, stderr } = await runCommand(["experiment", ...args], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertEquals(await tensorsOf("frugal", "lora_4"), await tensorsOf("first", "lora_4"));
  const { config } = await runOf("frugal", "lora_4");
  assertEquals(
    [config.checkpointActivations, config.cacheMemory, config.cacheDisk, config.storage],
    [true, 0, 64, "f32"],
  );
  assertEquals(config.gradientAccumulationSteps, 1);
});

Deno.test("the adapter is a PEFT folder that holds A and B of every adapted layer", async () => {
  const tensors = await tensorsOf("first", "lora_4");
  assertEquals(tensors.size, 20);
  const prefix = "image_encoder.layers.3.blocks.1.attn.qkv";
  assertEquals([...tensors.get(`${prefix}.lora_A.weight`)!.shape], [4, 320]);
  assertEquals([...tensors.get(`${prefix}.lora_B.weight`)!.shape], [960, 4]);
  const config = await readJson("first", "adapters", "lora_4", "adapter_config.json");
  assertEquals([config.peft_type, config.r, config.target_modules], ["LORA", 4, ["attn.qkv"]]);
});

Deno.test("a trained row scores again, slice for slice, as it did at its end, by its adapter alone", async () => {
  const { rows } = await readJson("first", "table.json");
  const diceOf: Record<string, Record<string, { mean: number }>> = {
    peft: rows[1].dice,
    lora_4: rows[2].dice,
  };
  for (const run of ["peft", "lora_4"]) {
    // Model, side and preparation come from its file, and so do the patients it must not be scored on.
    const path = join("first", "adapters", run);
    const { code, stdout, stderr } = await runCommand(["evaluate", path, "--data", "data"], {
      cwd: folder,
    });
    assertEquals(code, 0, stdout + stderr);
    const evaluation = await readJson(path, "evaluation-data.json");
    assertEquals([evaluation.config.side, evaluation.cases.length], [64, 1]);
    const { slices } = await recordsOf("first", run);
    assertEquals(recorded(evaluation.slices), slices as unknown);
    const { mean } = diceOf[run]["tight-box"];
    assertAlmostEquals(evaluation.dice["tight-box"].mean, mean, 1e-6);
  }
});

Deno.test("--adapter-dtype f16 saves half the bytes, and scores what it saves", async () => {
  const args = ["peft", "--data", "data", "--out", "half", "--side", "64", "--epochs", "1"];
  const half = [...args, "--batch-size", "2", "--adapter-dtype", "f16"];
  const { code, stdout, stderr } = await runCommand(["experiment", ...half], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  for (const raw of (await tensorsOf("half", "peft")).values()) assertEquals(raw.dtype, "F16");
  const path = join("half", "adapters", "peft");
  const again = await runCommand(["evaluate", path, "--data", "data"], { cwd: folder });
  assertEquals(again.code, 0, again.stderr);
  const evaluation = await readJson(path, "evaluation-data.json");
  assertEquals(recorded(evaluation.slices), (await recordsOf("half", "peft")).slices as unknown);
});

Deno.test("weights that do not say what trained them are scored on all, on whole volumes too", async () => {
  const { metadata: _, ...adapter } = await loadAdapter(join(folder, "second", "adapters/lora_4"));
  await saveAdapter(join(folder, "alone"), { ...adapter, metadata: {} });
  for (const [subject, row] of [["alone", "lora_4"], ["vanilla", "vanilla"]]) {
    const { code, stdout, stderr } = await runCommand(["evaluate", ...[
      subject,
      "--data",
      "data",
      "--side",
      "64",
      "--batch-size",
      "2",
    ], ...["--whole-volumes", "--out", `${subject}.json`]], { cwd: folder });
    assertEquals(code, 0, stdout + stderr);
    if (subject === "alone") assertMatch(stdout, /scored on all/);
    assertMatch(stdout, /Volumes .*Dice/);
    assertMatch(stdout, /Clicks/);
    const evaluation = await readJson(`${subject}.json`);
    assertEquals([evaluation.slices.length, evaluation.patients], [12, 6]);
    const again = new Map(recorded(evaluation.slices).map((slice) => [slice.id, slice]));
    for (const slice of (await recordsOf("first", row)).slices) {
      assertEquals(again.get(slice.id), slice);
    }
  }
});

Deno.test("folds and seeds end in one table over every patient, and finished parts are kept", async () => {
  const args = ["lora_4", "--data", "data", "--out", "folds", "--side", "64", "--epochs", "1"];
  const all = [...args, "--folds", "2", "--seeds", "3,5", "--batch-size", "2"];
  const first = await runCommand(["experiment", ...all], { cwd: folder });
  assertEquals(first.code, 0, first.stdout + first.stderr);
  const parts = ["seed_3-fold_1", "seed_3-fold_2", "seed_5-fold_1", "seed_5-fold_2"];
  const { runs, records } = await readStudyFiles(join(folder, "folds"));
  assertEquals(runs.map(({ part }) => part), parts);
  const splits = runs.map(({ split }) => split);
  assertEquals(new Set([...splits[0].test, ...splits[1].test]).size, 6);
  assertEquals(splits[2], splits[0]);
  const { context, rows: [lora, ...trivial] } = await readJson("folds", "table.json");
  assertEquals(context.splits.test, { patients: 6, slices: 12 });
  assertEquals(context.pooled, "2 folds, training seeds 3, 5, split seed 3");
  assertEquals(trivial.map(({ dice }: Row) => dice["tight-box"].n), [12, 12, 12]);
  assertEquals([lora.dice["tight-box"].n, lora.dice["tight-box"].interval.length], [12, 2]);
  // Each slice counts with its mean over the two seeds.
  const dice = records.filter(({ row }) => row === "lora_4")
    .flatMap(({ slices }) => slices.map(({ scores }) => scores["tight-box"]!.dice));
  assertEquals(dice.length, 24);
  // A table holds six digits.
  assertAlmostEquals(lora.dice["tight-box"].mean, dice.reduce((a, b) => a + b) / 24, 5e-7);
  await assertRecomputed("folds");
  const left = [...Deno.readDirSync(join(folder, "folds"))].filter((one) => one.isDirectory);
  assertEquals(left.map(({ name }) => name).sort(), ["adapters", "report"]);
  for (const part of parts) {
    assertEquals((await tensorsOf("folds", join(part, "lora_4"))).size, 20);
  }

  const again = await runCommand(["experiment", ...all], { cwd: folder });
  assertEquals(again.code, 0, again.stderr);
  assertStringIncludes(again.stdout, "folds is whole: nothing is left to do");
  const other = await runCommand(["experiment", ...all, "--lr", "1e-4"], { cwd: folder });
  assertEquals(other.code, 1);
  assertMatch(other.stderr, /folds already holds results/);
});

Deno.test("results are not overwritten", async () => {
  const args = ["--data", "data", "--out", "first", ...options];
  const { code, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(stderr, /first already holds results/);
});

Deno.test("a study that is gone on with by its --ranks keeps the rows of --wise-ft", async () => {
  const args = ["--data", "data", "--out", "stopped", "--baselines", "vanilla", ...options];
  const once = join("stopped", "lora_4", "finished.json");
  await killCommand(["experiments", ...args, "--wise-ft", "0.5"], { cwd: folder, once });
  const goOn = () =>
    runCommand(["experiments", "--resume", "stopped", "--ranks", "4"], { cwd: folder });
  // Weights that are not those of the finished row are not drawn back to anything.
  const weights = join(folder, "stopped", "adapters", "lora_4", "adapter_model.safetensors");
  const bytes = await Deno.readFile(weights);
  await Deno.writeFile(weights, bytes.with(-1, bytes.at(-1)! ^ 1));
  assertMatch(
    (await goOn()).stderr,
    /lora_4\/adapter_model\.safetensors is damaged: remove .*lora_4/,
  );
  await Deno.writeFile(weights, bytes);
  const { code, stdout, stderr } = await goOn();
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "LoRA-4: finished before");
  const { rows } = await readJson("stopped", "table.json");
  assertEquals(rows.map(({ model }: { model: string }) => model).slice(0, 3), [
    "Vanilla",
    "LoRA-4",
    "LoRA-4, WiSE-FT 0.5",
  ]);
});

Deno.test("weights of a training that a guard has ended are not scored by --wise-ft either, fold by fold", async () => {
  const args = ["peft", "--data", "data", "--out", "diverged_folds", "--lr", "1e30"];
  const { code, stderr } = await runCommand([
    "experiment",
    ...args,
    "--side",
    "64",
    "--folds",
    "2",
    "--wise-ft",
    "0.5",
  ], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^error: the validation loss is not finite .*PEFT, WiSE-FT 0\.5 ended likewise\)$/m,
  );
  for (const fold of [1, 2]) {
    const [trained, drawn] = await Promise.all(
      ["peft", "peft_wise_0_5"].map((run) => runOf("diverged_folds", run, `seed_0-fold_${fold}`)),
    );
    assert(trained.guard);
    assertEquals(trained.guard, drawn.guard);
  }
  const { rows } = await readJson("diverged_folds", "table.json");
  assertEquals(
    rows.map(({ model }: { model: string }) => model),
    ["All ones", "Filled box", "Inscribed ellipse"],
  );
});

Deno.test("a training that a guard ends leaves its reason, and no number in any table", async () => {
  const args = [
    "--data",
    "data",
    "--out",
    "diverged",
    "--lr",
    "1e30",
    "--ranks",
    "4",
    "--side",
    "64",
  ];
  const { code, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^error: the loss is not finite .*lower the learning rate.*\(PEFT, in .*runs\.json; LoRA-4 ended likewise\)$/m,
  );
  const { context, rows } = await readJson("diverged", "table.json");
  assertEquals(
    rows.map(({ model }: { model: string }) => model),
    ["Vanilla", "All ones", "Filled box", "Inscribed ellipse"],
  );
  assertEquals(context.notes.length, 2);
  assertMatch(
    await read("diverged", "table.md"),
    /- LoRA-4 is left out, ended by the guard non-finite/,
  );
  for (const run of ["peft", "lora_4"]) {
    const { guard, summary } = await runOf("diverged", run);
    assertEquals([guard!.guard, guard!.step > 0, summary], ["non-finite", true, undefined]);
  }
  const { records } = await readStudyFiles(join(folder, "diverged"));
  assertEquals(records.filter(({ trivial }) => !trivial).map(({ row }) => row), ["vanilla"]);
});

Deno.test("what no binding of the device holds is refused in one sentence", async () => {
  const args = ["lora_2000000", "--data", "data", "--out", "huge", "--side", "64"];
  const { code, stderr } = await runCommand(["experiment", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(stderr, /error: a tensor .* of \d+ bytes/);
});

Deno.test("recorded commands name no folder of this machine", async () => {
  const out = join(folder, "absolute");
  const { code, stderr } = await runCommand([
    "experiment",
    "vanilla",
    `--data=${join(folder, "data")}`,
    `--out=${out}`,
    "--side=64",
  ], { cwd: folder });
  assertEquals(code, 0, stderr);
  for (const file of ["table.md", "table.json", "runs.json"]) {
    assert(!(await Deno.readTextFile(join(out, file))).includes(folder), file);
  }
  assertStringIncludes(await read("absolute", "table.md"), "--data=data --out=absolute --side=64");
});

Deno.test("evaluate names what is wrong with a run", async () => {
  const cases: [string[], RegExp][] = [
    [["nowhere", "--data", "data"], /nowhere/],
    [[join("first", "adapters", "lora_4"), "--data", "nowhere"], /nowhere/],
    [[join("first", "adapters", "lora_4"), "--ranks", "4"], /--ranks/],
    [[join("first", "adapters", "lora_4"), "extra", "--data", "data"], /extra/],
    [[join("first", "lora_4"), "--data", "data"], /holds no adapter: name .*adapters\/lora_16/],
    [["vanilla", "--data", "data"], /--out/],
    [["vanilla", "--data", "data", "--model", "vit_x"], /vit_x/],
    [[], /evaluate needs ADAPTER .* and --data/],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runCommand(["evaluate", ...args], { cwd: folder });
    assertEquals(code, 1);
    assertMatch(stderr, says);
  }
});
