// Reads every volume of tests/formats/fixtures and writes it as NIfTI, for check_written_volumes.py:
//   deno run -A tests/reference/write_volumes.ts OUT
import { join } from "node:path";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { endingOf } from "../../lib/formats/volume_file.ts";
import { openScans } from "../../lib/data/scans.ts";

const fixtures = join(import.meta.dirname!, "..", "formats", "fixtures");
const [out] = Deno.args;
await Deno.mkdir(out, { recursive: true });
for (const folder of [fixtures, join(fixtures, "formats")]) {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const isScan = isDirectory ? name.startsWith("dicom") : endingOf(name) !== null;
    if (!isScan) continue;
    for (const { id, load } of (await openScans([join(folder, name)])).scans) {
      const file = isDirectory ? `${id}.nii.gz` : `${name}.nii.gz`;
      await writeNifti(join(out, file), await load(), { datatype: "float32" });
    }
  }
}
