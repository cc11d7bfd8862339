import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readImage } from "../../lib/data/read_volume.ts";
import { InputError } from "../../lib/errors.ts";
import { type PageFile, readScan, readTruth } from "../../lib/view/dropped.ts";

const FORMATS = join(import.meta.dirname!, "..", "formats", "fixtures", "formats");

/** A file as a page has it, in a folder that was dropped. */
function dropped(name: string): PageFile {
  const arrayBuffer = async () => (await Deno.readFile(join(FORMATS, name))).buffer;
  return { name: `folder/${name}`, arrayBuffer };
}

const start = () => Promise.reject(new Error("no DICOM is here"));

for (
  const names of [
    ["pair.mhd", "pair.raw"],
    ["packed_pair.mhd", "packed_pair.zraw"],
    ["raw_pair.nhdr", "raw_pair.raw"],
    ["gzip_pair.nhdr", "gzip_pair.raw.gz"],
    ["nifti_pair.hdr", "nifti_pair.img"],
    ["nifti_packed.hdr.gz", "nifti_packed.img.gz"],
  ]
) {
  const [header, voxels] = names;
  Deno.test(`${header} and ${voxels} are one scan, as on the command line`, async () => {
    const files = [voxels, header].map(dropped);
    const expected = await readImage(join(FORMATS, header));
    const found = await readScan(files, { start });
    if ("series" in found) throw new Error("series");
    assertEquals(found, { name: header, volume: { ...expected, notes: found.volume.notes } });
    assertEquals((await readTruth(files)).volume.data, expected.data);
    await assertRejects(
      () => readScan([dropped(header)], { start }),
      InputError,
      `${header} has its voxels in ${voxels.replace("packed.img.gz", "packed.img")}: give both`,
    );
    await assertRejects(() => readScan([dropped(voxels)], { start }), InputError, "both files");
  });
}
