import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { listFolder, openDataset } from "../../lib/data/dataset.ts";
import { openSlices } from "../../lib/data/slices.ts";
import { inTemporaryFolder } from "./temporary.ts";

const FIXTURES = join(import.meta.dirname!, "..", "formats", "fixtures", "formats");

/** A data set of one case whose image and segmentation are headers with files beside them. */
async function pairs(folder: string): Promise<void> {
  const files = [["pair.mhd", "P1-t1c.mhd"], ["pair.raw"], ["raw_pair.nhdr", "P1-seg.nhdr"], [
    "raw_pair.raw",
  ]];
  for (const [from, to = from] of files) {
    await Deno.copyFile(join(FIXTURES, from), join(folder, to));
  }
}

Deno.test("the files with the voxels of others are no cases of their own, and nothing left aside", () =>
  inTemporaryFolder(async (folder) => {
    await pairs(folder);
    const { scans, aside } = await listFolder(folder, "t1c");
    assertEquals(scans.map(({ id, image, seg }) => [id, image !== null, seg !== null]), [
      ["P1", true, true],
    ]);
    assertEquals(aside, []);
  }));

Deno.test("slices are cut again where the voxels beside an unchanged header have changed", () =>
  inTemporaryFolder(async (folder) => {
    await pairs(folder);
    const open = async () => {
      const options = { cache: join(folder, ".cache"), minTumourVoxels: 1 };
      const slices = await openSlices(await openDataset(folder), options);
      return slices.fingerprints.get("P1");
    };
    const before = await open();
    assertEquals(await open(), before);
    const path = join(folder, "pair.raw");
    await Deno.writeFile(path, (await Deno.readFile(path)).toReversed());
    assertNotEquals(await open(), before);
  }));
