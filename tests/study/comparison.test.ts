import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { compareUnder, computeTable } from "../../lib/study/comparison.ts";
import { displayName } from "../../lib/study/experiment.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { encodeRecords, readRecords, type Records } from "../../lib/study/records.ts";
import { primaryOf } from "../../lib/study/statistics.ts";

const results = join(import.meta.dirname!, "..", "..", "results");

/** Two folds of 52 patients, with rows drawn back by WiSE-FT. */
const folds = await readStudyFiles(join(results, "cheng-meningioma-folds"));

/** Names of the experiments by those of tables. */
const experiments = new Map(
  folds.runs.map(({ experiment }) => [displayName(experiment), experiment.name]),
);

Deno.test("every figure of a committed study comes out of its records again", () => {
  const { table, ...files } = folds;
  assertEquals(JSON.parse(JSON.stringify(computeTable(table.context, files))), table);
});

Deno.test("means, intervals and tests of a study are over the same patients", () => {
  const { table, records } = folds;
  for (const { model, kind, dice, tests } of table.rows) {
    const row = kind === "trivial" ? model : experiments.get(model)!;
    const slices = records.filter((one) => one.row === row).flatMap(({ slices }) => slices);
    const patients = Map.groupBy(slices, ({ patient }) => patient);
    const means = [...patients.values()].map((own) =>
      own.reduce((sum, { scores }) => sum + scores["tight-box"]!.dice, 0) / own.length
    );
    const score = dice["tight-box"];
    assertEquals(score.n, 52);
    assertAlmostEquals(score.mean, means.reduce((a, b) => a + b, 0) / 52, 1e-6);
    for (const test of Object.values(tests ?? {})) assertEquals(test!.patients, 52);
  }
  for (const { comparisons } of table.statistics) {
    for (const { patients, interval, difference } of comparisons) {
      assertEquals(patients, 52);
      assert(interval![0] <= difference && difference <= interval![1]);
    }
  }
});

Deno.test("a row of WiSE-FT is compared with PEFT of the same share, and vanilla with none", () => {
  const { statistics, rows } = folds.table;
  const pairs = ["PEFT > Vanilla", "PEFT, WiSE-FT 0.75 > Vanilla"];
  for (
    const [lora, peft] of [["LoRA-16", "PEFT"], ["LoRA-16, WiSE-FT 0.75", "PEFT, WiSE-FT 0.75"]]
  ) {
    pairs.push(`${lora} > Vanilla`, `${lora} > ${peft}`);
  }
  for (const { comparisons } of statistics) {
    assertEquals(comparisons.map(({ model, reference }) => `${model} > ${reference}`), pairs);
  }
  assertEquals(
    rows.map(({ references: { peft }, peftComparison }) => [peft, peftComparison === null]),
    [
      ["PEFT", false], // Vanilla
      [undefined, true],
      [undefined, true], // PEFT, WiSE-FT 0.75
      ["PEFT", false],
      ["PEFT, WiSE-FT 0.75", false],
      ...Array(3).fill(["PEFT", false]), // predictors that see no image
    ],
  );
  // The row shows the tested difference.
  const [lora] = rows.filter(({ model }) => model === "LoRA-16, WiSE-FT 0.75");
  assertAlmostEquals(lora.peftComparison!, 100 * lora.tests!.peft!.difference, 1e-4);
});

Deno.test("rows are compared under another prompt by the tests that were made under it", () => {
  const { context, rows } = compareUnder(folds.table, "point");
  assertEquals(context.primaryPrompt, "point");
  const [lora] = rows.filter(({ model }) => model === "LoRA-16, WiSE-FT 0.75");
  const { comparisons } = folds.table.statistics
    .find(({ prompt, metric }) => prompt === "point" && metric === "dice")!;
  const [test] = comparisons.filter(({ model, reference }) =>
    model === lora.model && reference === "PEFT, WiSE-FT 0.75"
  );
  assertEquals(lora.peftComparison, 100 * test.difference);
  assertEquals(lora.tests!.peft!.pHolm, test.pHolm);
  assertEquals(lora.accuracy, 100 * lora.dice.point.mean);
});

Deno.test("a study that was not scored under the tight box has its first table under another prompt", () => {
  assertEquals(primaryOf(["whole-image", "tight-box"]), "tight-box");
  assertEquals(primaryOf(["clicks-3", "whole-image", "point"]), "point");
  assertEquals(primaryOf(["clicks-5", "clicks-3"]), "clicks-5");
});

Deno.test("records are read as they were written, in the same bytes each time", async () => {
  const score = (dice: number) => ({ dice, hd95: 1.5, signedVolumeError: null, truth: 12.5 });
  const slice = (id: string) => ({ id, caseId: "A-1", patient: "A", tumourPixels: 3 });
  const records: Records[] = [{
    part: "seed_0",
    row: "lora_4",
    trivial: false,
    slices: [
      { ...slice("A-1:2:3"), scores: { "tight-box": score(0.5), point: score(1) }, clicks: [0, 1] },
      { ...slice("A-1:2:4"), scores: { "tight-box": score(0.25) } },
    ],
    cases: [{ id: "A-1", patient: "A", slices: 2, scores: { "tight-box": score(0.75) } }],
    masks: [{ id: "A-1:2:3", size: [2, 2], counts: [1, 3] }],
    sample: { size: [2, 2], counts: [4], dice: 0.5 },
  }];
  const path = await Deno.makeTempFile();
  await Deno.writeFile(path, await encodeRecords([...records, ...records]));
  assertEquals(await readRecords(path), [...records, ...records]);
  assertEquals(await encodeRecords(records), await encodeRecords(records));
  await Deno.remove(path);
});

Deno.test("a study of an earlier version is refused in a sentence", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(join(folder, "table.json"), '{"context": {}, "rows": []}');
  await Deno.mkdir(join(folder, "lora_16"));
  await assertRejects(
    () => readStudyFiles(folder),
    InputError,
    "has no runs.json, as studies of earlier versions have none: run its command again",
  );
  await Deno.remove(folder, { recursive: true });
});
