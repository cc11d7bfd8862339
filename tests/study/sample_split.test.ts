import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { DEFAULTS, SAMPLE_SPLIT } from "../../lib/study/schema.ts";
import { openStudyData, SAMPLE } from "../../lib/study/study_data.ts";

Deno.test("the default study has the committed split of the sample, of 20 test patients or more", async () => {
  const committed = JSON.parse(await Deno.readTextFile(join(SAMPLE, "split.json")));
  const { split } = await openStudyData({ ...DEFAULTS, split: [...SAMPLE_SPLIT] }, () => {});
  const { train, validation, test } = split;
  assertEquals({ train, validation, test }, committed);
  assert(test.length >= 20);
  assertEquals(new Set([...train, ...validation, ...test]).size, 52);
});
