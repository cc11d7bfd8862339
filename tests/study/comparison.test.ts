import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { computeTable } from "../../lib/study/comparison.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { encodeRecords, readRecords, type Records } from "../../lib/study/records.ts";

const results = join(import.meta.dirname!, "..", "..", "results");

Deno.test("every figure of a committed study comes out of its records again", async () => {
  const { table, ...files } = await readStudyFiles(join(results, "cheng-meningioma-all"));
  assertEquals(JSON.parse(JSON.stringify(computeTable(table.context, files))), table);
});

Deno.test("records are read as they were written, in the same bytes each time", async () => {
  const score = (dice: number) => ({ dice, hd95: 1.5, volumeError: null, truth: 12.5 });
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
