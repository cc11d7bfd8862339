import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { join } from "node:path";
import { DEFAULTS } from "../../lib/study/schema.ts";
import { describeCrop, openRowData, openStudyData } from "../../lib/study/study_data.ts";
import { InputError } from "../../lib/errors.ts";
import { cacheIn } from "../data/temporary.ts";
import { tinyDataset } from "./tiny_dataset.ts";

Deno.test("a row with another preparation keeps the study's patients, parts and slices", async () => {
  const folder = await tinyDataset(9);
  using _ = cacheIn(join(folder, "cache"));
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);
  const config = { ...DEFAULTS, data: join(folder, "data"), maxTrain: 5 };
  const study = await openStudyData({ ...config, split: [0.5, 0.2, 0.3] }, log);
  assertEquals(study.split.test.length, 3);
  assertEquals(study.split.validation.length, 2);
  assertEquals(study.parts.train.length, 5);
  const row = (overrides: Partial<typeof config>) =>
    openRowData(study, { config, row: { ...config, ...overrides }, log });

  assertStrictEquals(await row({ side: 64, learningRate: [1] }), study);

  // Half of the width: some tumours lose pixels.
  lines.length = 0;
  const cropped = await row({ crop: 20 });
  assertMatch(lines.join(), /The crop to 20 loses \d+ of \d+ tumour voxels \(\d+\.\d %\)/);
  assertEquals(lines.at(-1), describeCrop(cropped.slices.crop, 20));
  assertStrictEquals(cropped.split, study.split);
  for (const part of ["train", "validation", "test"] as const) {
    const ids = study.parts[part].map(({ id }) => id);
    const own = cropped.parts[part];
    assert(own.length > 0 && own.every(({ id, width }) => ids.includes(id) && width === 20), part);
  }
  const whole = new Map(study.slices.refs.map(({ id, tumourVoxels }) => [id, tumourVoxels]));
  const lost = cropped.slices.refs.filter(({ id, tumourVoxels }) => tumourVoxels < whole.get(id)!);
  assert(lost.length > 0, "this crop cuts into tumours");

  const rescaled = await row({ rescale: "minmax" });
  assertEquals(
    rescaled.parts.test.map(({ id, tumourVoxels }) => [id, tumourVoxels]),
    study.parts.test.map(({ id, tumourVoxels }) => [id, tumourVoxels]),
  );
  const pixels = async (data: typeof study) => (await data.slices.read(data.parts.test[0])).image;
  assert(String(await pixels(rescaled)) !== String(await pixels(study)));

  await assertRejects(() => row({ axis: 0 }), InputError, "leave no slice of the train part");
  await Deno.remove(folder, { recursive: true });
});
