import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { decode } from "fast-png";
import { join } from "node:path";
import { metricsAt } from "../../lib/metrics/metrics.ts";
import { PROTOCOL } from "../../lib/evaluate/scored_prompts.ts";
import { loadMobileSamWeights } from "../../lib/sam/mobile_sam.ts";
import { toFloat32 } from "../../lib/formats/raw_tensor.ts";
import { readSafetensors } from "../../lib/formats/safetensors.ts";
import { killCommand, runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

/** What is read of a table's row. */
interface Row {
  readonly dice: Record<string, { readonly n: number }>;
}

const options = ["--side", "64", "--ranks", "4", "--epochs", "2", "--batch-size", "2"];

/** A finished study of six tiny patients, run twice with one seed. */
const folder = await tinyDataset(6);
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

const read = (...path: string[]) => Deno.readTextFile(join(folder, ...path));
const readJson = async (...path: string[]) => JSON.parse(await read(...path));

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
    "lora_4",
    "loss_curves.svg",
    "masks.png",
    "peft",
    "report",
    "report.html",
    "report.md",
    "statistics.json",
    "table.json",
    "table.md",
    "trivial.json",
    "vanilla",
  ]);
  const untrained = [
    "cases.json",
    "config.json",
    "environment.json",
    "masks.json",
    "scores.json",
    "split.json",
    "summary.json",
  ];
  assertEquals(files("first", "vanilla"), untrained);
  assertEquals(files("first", "lora_4"), ["adapter", ...untrained, "metrics.jsonl"].sort());

  const { context, rows } = await readJson("first", "table.json");
  assertEquals(
    rows.map(({ model }: { model: string }) => model),
    ["Vanilla", "PEFT", "LoRA-4", "All ones", "Filled box", "Inscribed ellipse"],
  );
  assertEquals(context.simulated, false);
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
  const [slice] = await readJson("first", "lora_4", "scores.json");
  assertEquals(Object.keys(slice.scores), [...PROTOCOL]);
  assertEquals(slice.clicks.length, 5);
  const metrics = [...metricsAt("slice"), "truth", "predicted"].sort();
  assertEquals(Object.keys(slice.scores["clicks-5"]).sort(), metrics);
  const kept = await readJson("first", "lora_4", "masks.json");
  assertEquals(kept.map(({ id }: { id: string }) => id).includes(slice.id), true);
  const cases = await readJson("first", "lora_4", "cases.json");
  assertEquals(cases.map(({ slices }: { slices: number }) => slices), [2]);
  assertEquals(Object.keys(cases[0].scores), [...PROTOCOL]);
  const statistics = await readJson("first", "statistics.json");
  const families = statistics.map(({ prompt, metric }: Record<string, string>) =>
    `${prompt} ${metric}`
  );
  for (const prompt of PROTOCOL) assert(families.includes(`${prompt} dice`), prompt);
  const { comparisons } = statistics[0];
  assertEquals(
    comparisons.map(({ model, reference }: Record<string, string>) => `${model} - ${reference}`),
    ["PEFT - Vanilla", "LoRA-4 - Vanilla", "LoRA-4 - PEFT"],
  );
  const { protocol } = await readJson("first", "lora_4", "summary.json");
  assertEquals(protocol.prompts["tight-box"].cases.dice.n, 1);
  assertEquals(protocol.clicks.length, 5);
});

Deno.test("the split keeps patients apart and the metrics hold a line an epoch", async () => {
  const split = await readJson("first", "lora_4", "split.json");
  const all = [...split.train, ...split.validation, ...split.test];
  assertEquals(new Set(all).size, 6);
  assertEquals(all.length, 6);
  const lines = (await read("first", "lora_4", "metrics.jsonl")).trim().split("\n");
  assertEquals(lines.map((line) => JSON.parse(line).epoch), [1, 2]);
  const summary = await readJson("first", "lora_4", "summary.json");
  const dice = lines.map((line) => JSON.parse(line).validationDice);
  assertEquals(summary.bestEpoch, dice[1] > dice[0] ? 2 : 1);
});

Deno.test("the same seed gives the same adapters, bit for bit, and the same scores", async () => {
  await study("second", "--wise-ft", "0.25");
  for (const run of ["peft", "lora_4"]) {
    const bytes = (out: string) =>
      Deno.readFile(join(folder, out, run, "adapter", "adapter_model.safetensors"));
    assertEquals(await bytes("first"), await bytes("second"), run);
  }
  for (const run of ["vanilla", "peft", "lora_4"]) {
    assertEquals(await read("first", run, "scores.json"), await read("second", run, "scores.json"));
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
    const path = join(folder, "second", run, "adapter", "adapter_model.safetensors");
    const { tensors } = await readSafetensors(path);
    return new Map([...tensors].map(([name, raw]) => [name, toFloat32(raw)]));
  };
  const adapters = await weightsOf("lora_4");
  for (const [name, drawn] of await weightsOf("lora_4_wise_0_25")) {
    const share = name.includes("lora_B") ? 0.25 : 1;
    assertEquals(drawn, adapters.get(name)!.map((value) => share * value), name);
  }
  const [pretrained, decoder] = [await loadMobileSamWeights(), await weightsOf("peft")];
  let moved = 0;
  for (const [name, drawn] of await weightsOf("peft_wise_0_25")) {
    const before = pretrained.get(name.replace("base_model.model.", ""))!.data;
    const after = decoder.get(name)!;
    drawn.forEach((value, i) => {
      assertAlmostEquals(value, before[i] + 0.25 * (after[i] - before[i]), 1e-6, name);
      moved = Math.max(moved, Math.abs(value - before[i]));
    });
  }
  assert(moved > 1e-5, `${moved}`);
  const { trainableParameters, trainSeconds } = await readJson(
    "second",
    "lora_4_wise_0_25",
    "summary.json",
  );
  assertEquals([trainableParameters, trainSeconds], [29_696, undefined]);
});

Deno.test("options that save memory change no number, and are written down", async () => {
  const memory = ["--checkpoint-activations", "--cache-memory", "0", "--cache-disk", "64"];
  const args = ["lora_4", "--data", "data", "--out", "frugal", ...options, ...memory];
  const { code, stdout, stderr } = await runCommand(["experiment", ...args], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  const bytes = (out: string) =>
    Deno.readFile(join(folder, out, "lora_4", "adapter", "adapter_model.safetensors"));
  assertEquals(await bytes("frugal"), await bytes("first"));
  const { config } = await readJson("frugal", "lora_4", "config.json");
  assertEquals(
    [config.checkpointActivations, config.cacheMemory, config.cacheDisk, config.storage],
    [true, 0, 64, "f32"],
  );
  assertEquals(config.gradientAccumulationSteps, 1);
});

Deno.test("the adapter is a PEFT folder that holds A and B of every adapted layer", async () => {
  const path = join(folder, "first", "lora_4", "adapter");
  const { tensors } = await readSafetensors(join(path, "adapter_model.safetensors"));
  assertEquals(tensors.size, 20);
  const prefix = "base_model.model.image_encoder.layers.3.blocks.1.attn.qkv";
  assertEquals([...tensors.get(`${prefix}.lora_A.weight`)!.shape], [4, 320]);
  assertEquals([...tensors.get(`${prefix}.lora_B.weight`)!.shape], [960, 4]);
  const config = await readJson("first", "lora_4", "adapter", "adapter_config.json");
  assertEquals([config.peft_type, config.r, config.target_modules], ["LORA", 4, ["attn.qkv"]]);
});

Deno.test("every trained row leaves its weights in half precision, with all that scoring needs", async () => {
  assertEquals(
    [...Deno.readDirSync(join(folder, "first", "adapters"))].map(({ name }) => name).sort(),
    [
      "lora_4",
      "peft",
    ],
  );
  for (const run of ["peft", "lora_4"]) {
    const [half, whole] = await Promise.all(
      [["adapters", run], [run, "adapter"]].map((path) =>
        readSafetensors(join(folder, "first", ...path, "adapter_model.safetensors"))
      ),
    );
    assertEquals([...half.tensors.keys()], [...whole.tensors.keys()]);
    let largest = 0;
    for (const [name, raw] of half.tensors) {
      assertEquals(raw.dtype, "F16");
      const exact = toFloat32(whole.tensors.get(name)!);
      toFloat32(raw).forEach((value, i) => {
        // 11 significant bits, but for values below f16's normal numbers.
        const error = Math.abs(value - exact[i]) / Math.max(Math.abs(exact[i]), 2 ** -14);
        largest = Math.max(largest, error);
      });
    }
    assert(largest > 0 && largest <= 2 ** -11, `${run}: ${largest}`);

    // Model, side and preparation come from the folder, and so do the patients it must not be scored on.
    const { code, stdout, stderr } = await runCommand([
      "evaluate",
      join("first", "adapters", run),
      "--data",
      "data",
    ], { cwd: folder });
    assertEquals(code, 0, stdout + stderr);
    const evaluation = await readJson("first", "adapters", run, "evaluation-data.json");
    assertEquals([evaluation.config.side, evaluation.slices.length], [64, 2]);
    const { dice } = await readJson("first", run, "summary.json");
    for (const prompt of ["tight-box", "point", "whole-image"]) {
      assertAlmostEquals(evaluation.dice[prompt].mean, dice[prompt].mean, 0.01, prompt);
    }
  }
});

Deno.test("a finished run scores again, slice for slice, as it did at its end", async () => {
  for (const run of ["vanilla", "peft", "lora_4"]) {
    const { code, stdout, stderr } = await runCommand([
      "evaluate",
      join("first", run),
      "--data",
      "data",
    ], { cwd: folder });
    assertEquals(code, 0, stdout + stderr);
    const evaluation = await readJson("first", run, "evaluation-data.json");
    // What was trained is scored on patients it never saw, the untrained model on all.
    assertEquals(evaluation.slices.length, run === "vanilla" ? 12 : 2);
    const again = new Map(evaluation.slices.map((slice: { id: string }) => [slice.id, slice]));
    assertEquals(evaluation.cases.length, run === "vanilla" ? 6 : 1);
    for (const slice of await readJson("first", run, "scores.json")) {
      assertEquals(again.get(slice.id), slice);
    }
  }
});

Deno.test("an adapter that is in no run's folder scores as its run does, on whole volumes too", async () => {
  await Deno.rename(join(folder, "second", "lora_4", "adapter"), join(folder, "alone"));
  const args = ["alone", "--data", "data", "--side", "64", "--batch-size", "2"];
  const { code, stdout, stderr } = await runCommand([
    "evaluate",
    ...args,
    "--whole-volumes",
    "--out",
    "alone.json",
  ], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertMatch(stdout, /scored on all/);
  assertMatch(stdout, /Volumes .*Dice/);
  assertMatch(stdout, /Clicks/);
  const evaluation = await readJson("alone.json");
  assertEquals([evaluation.slices.length, evaluation.patients], [12, 6]);
  const again = new Map(evaluation.slices.map((slice: { id: string }) => [slice.id, slice]));
  for (const slice of await readJson("first", "lora_4", "scores.json")) {
    assertEquals(again.get(slice.id), slice);
  }
});

Deno.test("folds and seeds end in one table over every patient, and finished parts are kept", async () => {
  const args = ["lora_4", "--data", "data", "--out", "folds", "--side", "64", "--epochs", "1"];
  const all = [...args, "--folds", "2", "--seeds", "3,5", "--batch-size", "2"];
  const first = await runCommand(["experiment", ...all], { cwd: folder });
  assertEquals(first.code, 0, first.stdout + first.stderr);
  const parts = ["seed_3-fold_1", "seed_3-fold_2", "seed_5-fold_1", "seed_5-fold_2"];
  const splits = await Promise.all(
    parts.map((part) => readJson("folds", part, "lora_4", "split.json")),
  );
  assertEquals(new Set([...splits[0].test, ...splits[1].test]).size, 6);
  assertEquals(splits[2], splits[0]);
  const { context, rows: [lora, ...trivial] } = await readJson("folds", "table.json");
  assertEquals(context.splits.test, { patients: 6, slices: 12 });
  assertEquals(context.pooled, "2 folds, training seeds 3, 5, split seed 3");
  assertEquals(trivial.map(({ dice }: Row) => dice["tight-box"].n), [12, 12, 12]);
  assertEquals([lora.dice["tight-box"].n, lora.dice["tight-box"].interval.length], [12, 2]);
  // Each slice counts with its mean over the two seeds.
  const means = await Promise.all(
    parts.map(async (part) => {
      const { dice } = await readJson("folds", part, "lora_4", "summary.json");
      return dice["tight-box"].mean * dice["tight-box"].n;
    }),
  );
  assertAlmostEquals(lora.dice["tight-box"].mean, means.reduce((a, b) => a + b) / 24, 1e-5);
  const { runs } = await readJson("folds", "lora_4", "summary.json");
  assertEquals(runs.map(({ name }: { name: string }) => name), parts);

  const again = await runCommand(["experiment", ...all], { cwd: folder });
  assertEquals(again.code, 0, again.stderr);
  for (const part of parts) assertStringIncludes(again.stdout, `${part} is whole`);
  const other = await runCommand(["experiment", ...all, "--lr", "1e-4"], { cwd: folder });
  assertEquals(other.code, 1);
  assertMatch(other.stderr, /folds already holds other results/);
});

Deno.test("results are not overwritten", async () => {
  const args = ["--data", "data", "--out", "first", ...options];
  const { code, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(stderr, /first already holds results/);
});

Deno.test("a study that is gone on with by its --ranks keeps the rows of --wise-ft", async () => {
  const args = ["--data", "data", "--out", "stopped", "--baselines", "vanilla", ...options];
  const once = join("stopped", "vanilla", "checkpoint", "finished.json");
  await killCommand(["experiments", ...args, "--wise-ft", "0.5"], { cwd: folder, once });
  const again = ["--resume", "stopped", "--ranks", "4"];
  const { code, stdout, stderr } = await runCommand(["experiments", ...again], { cwd: folder });
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "Vanilla: finished before");
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
    const ended = await Promise.all(
      ["peft", "peft_wise_0_5"].map((run) =>
        readJson("diverged_folds", `seed_0-fold_${fold}`, run, "guard.json")
      ),
    );
    assertEquals(ended[0], ended[1]);
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
    /^error: the loss is not finite .*lower the learning rate.*\(PEFT, in .*guard\.json; LoRA-4 ended likewise\)$/m,
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
    const guard = await readJson("diverged", run, "guard.json");
    assertEquals([guard.guard, guard.step > 0], ["non-finite", true]);
    const files = [...Deno.readDirSync(join(folder, "diverged", run))].map(({ name }) => name);
    assertEquals(files.sort(), ["config.json", "environment.json", "guard.json", "split.json"]);
  }
});

Deno.test("a run's folder with the adapter of another run is not scored", async () => {
  await Deno.mkdir(join(folder, "swapped"));
  for (const name of ["config.json", "split.json"]) {
    await Deno.copyFile(join(folder, "first", "lora_4", name), join(folder, "swapped", name));
  }
  await Deno.mkdir(join(folder, "swapped", "adapter"));
  for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
    const [from, to] = [join("first", "lora_4"), "swapped"].map((run) =>
      join(folder, run, "adapter", name)
    );
    await Deno.copyFile(from, to);
  }
  const evaluate = () => runCommand(["evaluate", "swapped", "--data", "data"], { cwd: folder });
  const own = await evaluate();
  assertEquals(own.code, 0, own.stderr);
  const config = await readJson("swapped", "config.json");
  config.config.seed = 7;
  await Deno.writeTextFile(join(folder, "swapped", "config.json"), JSON.stringify(config));
  const other = await evaluate();
  assertEquals(other.code, 1);
  assertMatch(other.stderr, /error: swapped.* holds an adapter that another run has trained/);
});

Deno.test("what no binding of the device holds is refused in one sentence", async () => {
  const args = ["lora_2000000", "--data", "data", "--out", "huge", "--side", "64"];
  const { code, stderr } = await runCommand(["experiment", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(stderr, /error: a buffer of \d+ bytes/);
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
  for (
    const file of ["table.md", "table.json", "vanilla/environment.json", "vanilla/config.json"]
  ) {
    assert(!(await Deno.readTextFile(join(out, file))).includes(folder), file);
  }
  assertStringIncludes(await read("absolute", "table.md"), "--data=data --out=absolute --side=64");
});

Deno.test("evaluate names what is wrong with a run", async () => {
  await Deno.mkdir(join(folder, "null-run"));
  await Deno.writeTextFile(join(folder, "null-run", "config.json"), "null");
  const cases: [string[], RegExp][] = [
    [["nowhere", "--data", "data"], /nowhere/],
    [[join("first", "lora_4"), "--data", "nowhere"], /nowhere/],
    [[join("first", "lora_4"), "--ranks", "4"], /--ranks/],
    [[join("first", "lora_4"), "extra", "--data", "data"], /extra/],
    [["null-run", "--data", "data"], /null-run/],
    [["vanilla", "--data", "data"], /--out/],
    [["vanilla", "--data", "data", "--model", "vit_x"], /vit_x/],
    [[], /evaluate RUN --data DIR/],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runCommand(["evaluate", ...args], { cwd: folder });
    assertEquals(code, 1);
    assertMatch(stderr, says);
  }
});
