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
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { runCommand } from "./command_line.ts";
import {
  assertRecomputed,
  assertScoresAgain,
  folder,
  options,
  read,
  readJson,
  runOf,
  study,
  tensorsOf,
} from "./studies.ts";

/** The models of the study, in its table's order. */
const MODELS = ["Vanilla", "PEFT", "LoRA-4"];

Deno.test("a whole tiny study writes every file, and its table holds every row", async () => {
  await study("first");
  const files = (...path: string[]) =>
    [...Deno.readDirSync(join(folder, ...path))].map(({ name }) => name).sort();
  assertEquals(files("first"), [
    "adapters",
    "loss_curves.svg",
    "manifest.json",
    "masks.png",
    "records.json.gz",
    "report",
    "report.html",
    "report.md",
    "runs.json",
    "table.json",
    "table.md",
    "tensorboard",
  ]);
  assertEquals(files("first", "adapters"), ["lora_4", "peft"]);

  const { rows } = await readJson("first", "table.json");
  assertEquals(
    rows.map(({ model }: { model: string }) => model),
    [...MODELS, "All ones", "Filled box", "Inscribed ellipse"],
  );
  for (const row of rows) {
    const { mean, n } = row.dice["tight-box"];
    assert(mean >= 0 && mean <= 1 && n === 1, JSON.stringify(row)); // two slices of one patient
  }
  const [vanilla, peft, lora] = rows;
  assertEquals(vanilla.trainableParameters, 0);
  assertEquals(peft.trainableParameters, 4_058_340);
  // 2 blocks of width 128, 6 of 160 and 2 of 320, each with A [4, d] and B [3 d, 4].
  assertEquals(lora.trainableParameters, 4 * 4 * (2 * 128 + 6 * 160 + 2 * 320));
  assertAlmostEquals(lora.vanillaComparison, lora.accuracy - vanilla.accuracy, 1e-3);

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
    [
      "PEFT - Vanilla",
      "LoRA-4 - Vanilla",
      "LoRA-4 - PEFT",
    ],
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

Deno.test("every figure of a table comes out of the records again", () =>
  assertRecomputed("first"));

Deno.test("the adapter is a PEFT folder that holds A and B of every adapted layer", async () => {
  const tensors = await tensorsOf("first", "lora_4");
  assertEquals(tensors.size, 20);
  const prefix = "image_encoder.layers.3.blocks.1.attn.qkv";
  assertEquals([...tensors.get(`${prefix}.lora_A.weight`)!.shape], [4, 320]);
  assertEquals([...tensors.get(`${prefix}.lora_B.weight`)!.shape], [960, 4]);
  const config = await readJson("first", "adapters", "lora_4", "adapter_config.json");
  assertEquals([config.peft_type, config.r, config.target_modules], ["LORA", 4, ["attn.qkv"]]);
});

Deno.test("a trained row scores again, slice for slice, as it did at its end, by its adapter alone", () =>
  assertScoresAgain("first", { row: "lora_4", model: "LoRA-4" }));

Deno.test("results are not overwritten", async () => {
  const args = ["--data", "data", "--out", "first", ...options];
  const { code, stderr } = await runCommand(["experiments", ...args], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(stderr, /first already holds results/);
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
