import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { toFloat32 } from "../../lib/formats/raw_tensor.ts";
import { mobileSamState } from "../sam/pretrained.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { killCommand, runCommand } from "./command_line.ts";
import {
  assertRecomputed,
  assertScoresAgain,
  folder,
  options,
  read,
  readJson,
  recorded,
  recordsOf,
  runOf,
  study,
  tensorsOf,
} from "./studies.ts";

/** Fields of a table's row that are read here. */
interface Row {
  readonly dice: Record<string, { readonly n: number }>;
}

Deno.test("the same seed gives the same adapters, bit for bit, and the same scores", async () => {
  await study("first");
  await study("second");
  for (const run of ["peft", "lora_4"]) {
    assertEquals(await tensorsOf("first", run), await tensorsOf("second", run), run);
  }
  for (const run of ["vanilla", "peft", "lora_4"]) {
    assertEquals(await recordsOf("first", run), await recordsOf("second", run));
  }
});

Deno.test("PEFT scores again, slice for slice, as it did at its end", () =>
  assertScoresAgain("first", { row: "peft", model: "PEFT" }));

Deno.test("options that save memory change no number, and are written down", async () => {
  const memory = ["--checkpoint-activations", "--cache-memory", "0", "--cache-disk", "64"];
  const args = [
    "--data",
    "data",
    "--out",
    "frugal",
    "--baselines",
    "vanilla",
    ...options,
    ...memory,
  ];
  const { code, stdout, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertEquals(await tensorsOf("frugal", "lora_4"), await tensorsOf("first", "lora_4"));
  const { config } = await runOf("frugal", "lora_4");
  assertEquals(
    [config.checkpointActivations, config.cacheMemory, config.cacheDisk, config.storage],
    [true, 0, 64, "f32"],
  );
  assertEquals(config.gradientAccumulationSteps, 1);
});

Deno.test("--precision f16 is written down, and its adapters score again as they did", async () => {
  const args = ["peft", "--data", "data", "--out", "mixed", "--side", "64", "--epochs", "1"];
  const mixed = [...args, "--batch-size", "2", "--precision", "f16"];
  const { code, stdout, stderr } = await runCommand(["experiment", ...mixed], { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertEquals((await runOf("mixed", "peft")).config.precision, "f16");
  const path = join("mixed", "adapters", "peft");
  const again = await runCommand(["evaluate", path, "--data", "data"], { cwd: folder });
  assertEquals(again.code, 0, again.stderr);
  const evaluation = await readJson(path, "evaluation-data.json");
  assertEquals(recorded(evaluation.slices), (await recordsOf("mixed", "peft")).slices as unknown);
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
    ], ...["--test-prompts", "all", "--whole-volumes", "--out", `${subject}.json`]], {
      cwd: folder,
    });
    assertEquals(code, 0, stdout + stderr);
    if (subject === "alone") assertMatch(stdout, /scored on all/);
    assertEquals(/nobody can tell/.test(stdout), subject === "alone");
    assertMatch(stdout, /Volumes .*Dice/);
    assertMatch(stdout, /Clicks/);
    const evaluation = await readJson(`${subject}.json`);
    assertEquals([evaluation.slices.length, evaluation.patients], [12, 6]);
    assertEquals(evaluation.lookLikeTrainingSlices, subject === "alone" ? null : []);
    const again = new Map(recorded(evaluation.slices).map((slice) => [slice.id, slice]));
    for (const slice of (await recordsOf("first", row)).slices) {
      assertEquals(again.get(slice.id), slice);
    }
  }
});

Deno.test("evaluate and predict name slices that look like those trained on, under other names", async () => {
  const { runs } = await readStudyFiles(join(folder, "first"));
  const { train: [seen], test: [unseen] } = runs[0].split;
  const id = (patient: string) => `${patient}-000`;
  const copy = async (patient: string, name: string, mirrored: boolean) => {
    await Deno.mkdir(join(folder, "others", name), { recursive: true });
    for (const kind of ["t1c", "seg"]) {
      const volume = await readNifti(
        join(folder, "data", id(patient), `${id(patient)}-${kind}.nii.gz`),
      );
      const data = volume.data.map((_, i) => volume.data[mirrored ? i - i % 32 + 31 - i % 32 : i]);
      const path = join(folder, "others", name, `${name}-${kind}.nii.gz`);
      await writeNifti(path, { ...volume, data }, {
        datatype: kind === "seg" ? "uint8" : "float32",
      });
    }
  };
  await copy(seen, "OTHER-1-000", true);
  await copy(unseen, "OTHER-2-000", false);
  const adapter = join("first", "adapters", "lora_4");
  const args = [adapter, "--data", "others", "--out", "others.json"];
  const scored = await runCommand(["evaluate", ...args], { cwd: folder });
  assertEquals(scored.code, 0, scored.stderr);
  assertMatch(
    scored.stdout,
    /Warning: 2 of 4 slices look like .*\(OTHER-1-000:2:0, OTHER-1-000:2:1\)/,
  );
  const { lookLikeTrainingSlices } = await readJson("others.json");
  assertEquals(lookLikeTrainingSlices, ["OTHER-1-000:2:0", "OTHER-1-000:2:1"]);
  for (const [name, warned] of [["OTHER-1-000", true], ["OTHER-2-000", false]] as const) {
    const file = (kind: string) => join("others", name, `${name}-${kind}.nii.gz`);
    const { code, stdout, stderr } = await runCommand([
      "predict",
      ...[file("t1c"), "--boxes-from", file("seg"), "--adapter", adapter],
      ...["--out", `masks of ${name}`],
    ], { cwd: folder });
    assertEquals(code, 0, stderr);
    assertEquals(/Warning: 2 of 2 slices look like/.test(stdout), warned, stdout);
  }
});

Deno.test("folds and seeds end in one table over every patient, and finished parts are kept", async () => {
  const args = ["lora_4", "--data", "data", "--out", "folds", "--side", "64", "--epochs", "1"];
  const plain = ["--targets", "attn.qkv", "--blocks", "all", "--save-modules", "none"];
  const all = [...args, ...plain, "--folds", "2", "--seeds", "3,5", "--batch-size", "2"];
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
  assertEquals(trivial.map(({ dice }: Row) => dice["tight-box"].n), [6, 6, 6]);
  const { n, interval } = lora.dice["tight-box"];
  assertEquals([n, interval], [6, null]); // too few patients for an interval
  // Each slice counts with its mean over the two seeds.
  const dice = records.filter(({ row }) => row === "lora_4")
    .flatMap(({ slices }) => slices.map(({ scores }) => scores["tight-box"]!.dice));
  assertEquals(dice.length, 24);
  // A table holds six digits.
  assertAlmostEquals(lora.dice["tight-box"].mean, dice.reduce((a, b) => a + b) / 24, 5e-7);
  await assertRecomputed("folds");
  const left = [...Deno.readDirSync(join(folder, "folds"))].filter((one) => one.isDirectory);
  assertEquals(left.map(({ name }) => name).sort(), ["adapters", "report", "tensorboard"]);
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

Deno.test("--wise-ft draws each trained row back by the share that validates best", async () => {
  await study("drawn", "--wise-ft", "0.25,0.5");
  const weightsOf = async (out: string, run: string) => {
    const tensors = await tensorsOf(out, run);
    return new Map([...tensors].map(([name, raw]) => [name, toFloat32(raw)]));
  };
  const shareOf = async (run: string) => {
    const { values: { wiseFt: share }, tried } = (await runOf("drawn", run)).summary!.choice!;
    assertEquals(tried.map(({ wiseFt }) => wiseFt), [0.25, 0.5]);
    assertEquals(
      Math.max(...tried.map(({ score }) => score)),
      tried.find(({ wiseFt }) => wiseFt === share)!.score,
    );
    return share;
  };
  const adapters = await weightsOf("first", "lora_4");
  let share = await shareOf("lora_4");
  for (const [name, drawn] of await weightsOf("drawn", "lora_4")) {
    const own = name.includes("lora_B") ? share : 1;
    assertEquals(drawn, adapters.get(name)!.map((value) => own * value), name);
  }
  const [pretrained, decoder] = [await mobileSamState(), await weightsOf("first", "peft")];
  share = await shareOf("peft");
  let moved = 0;
  for (const [name, drawn] of await weightsOf("drawn", "peft")) {
    const before = pretrained.get(name)!.data;
    const after = decoder.get(name)!;
    drawn.forEach((value, i) => {
      assertAlmostEquals(value, before[i] + share * (after[i] - before[i]), 1e-6, name);
      moved = Math.max(moved, Math.abs(value - before[i]));
    });
  }
  assert(moved > 1e-5, `${moved}`);
});

Deno.test("a study that was stopped goes on with other --ranks; a damaged row is refused by name", async () => {
  const args = ["--data", "data", "--out", "stopped", "--baselines", "vanilla", ...options];
  const once = join("stopped", "lora_4", "records.json.gz");
  await killCommand(["experiments", ...args, "--ranks", "4,2"], { cwd: folder, once });
  const goOn = () =>
    runCommand(["experiments", "--resume", "stopped", "--ranks", "4,2"], { cwd: folder });
  const { code, stdout, stderr } = await goOn();
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "LoRA-4: finished before");
  const { rows } = await readJson("stopped", "table.json");
  assertEquals(rows.map(({ model }: { model: string }) => model).slice(0, 3), [
    "Vanilla",
    "LoRA-4",
    "LoRA-2",
  ]);
});

Deno.test("a training that a guard ends leaves its reason, and no number in any table", async () => {
  const args = [
    "--data",
    "data",
    "--out",
    "diverged",
    "--lr",
    "1e30",
    "--pretrained-lr",
    "1e30",
    "--ranks",
    "4",
    "--encoder-ranks",
    "none",
    "--side",
    "64",
  ];
  const { code, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^error: the loss is not finite .*lower the learning rate.*\(PEFT, in .*runs\.json; LoRA-4 \+ decoder ended likewise\)$/m,
  );
  const { context, rows } = await readJson("diverged", "table.json");
  assertEquals(
    rows.map(({ model }: { model: string }) => model),
    ["Vanilla", "All ones", "Filled box", "Inscribed ellipse"],
  );
  assertEquals(context.notes.length, 2);
  assertMatch(
    await read("diverged", "table.md"),
    /- LoRA-4 \+ decoder is left out, ended by the guard non-finite/,
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
