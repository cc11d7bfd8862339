import { assertEquals, assertThrows } from "@std/assert";
import { dirname, join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { findScans, placeOf } from "../../lib/predict/scans.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
for (
  const name of [
    "a/BraTS-MEN-00001-000-t1c.nii.gz",
    "a/BraTS-MEN-00001-000-seg.nii.gz",
    "b/sub-01_ses-02_ce-gadolinium_T1w.nii",
    "b/tumour_007_0000.nii.gz",
    "b/notes.txt",
    "c, d/scan [1].NII.GZ",
    "twice/x-t1c.nii.gz",
    "twice/x_t1c.nii",
  ]
) {
  await Deno.mkdir(dirname(join(folder, name)), { recursive: true });
  await Deno.writeTextFile(join(folder, name), "");
}

/** Names of the masks of what arguments find, and what was said. */
function masks(...paths: string[]): { masks: string[]; said: string[] } {
  const said: string[] = [];
  const scans = findScans(paths.map((path) => join(folder, path)), (line) => said.push(line));
  return { masks: scans.map(({ maskName }) => maskName), said };
}

Deno.test("files, folders and patterns give scans, masks among them being left out aloud", () => {
  const brats = "BraTS-MEN-00001-000-seg.nii.gz";
  const bids = "sub-01_ses-02_ce-gadolinium_dseg.nii.gz";
  const nnunet = "tumour_007.nii.gz";
  const a = masks("a");
  assertEquals(a.masks, [brats]);
  assertEquals(a.said.length, 1);
  assertEquals(masks("b").masks, [bids, nnunet]);
  assertEquals(masks("b/*.nii").masks, [bids]);
  assertEquals(masks("**/*-t1c.nii.gz").masks, [brats, "x-seg.nii.gz"]);
  assertEquals(masks("b/*_000?.nii.gz", "b/tumour_007_0000.nii.gz").masks, [nnunet]);
  assertEquals(masks("{a,b}/*t1c.nii.gz").masks, [brats]);
  // Brackets, a comma and spaces that a path has are no pattern.
  assertEquals(masks("c, d/scan [1].NII.GZ").masks, ["scan [1]-seg.nii.gz"]);
});

Deno.test("what names no scan, or two with one mask, is refused", () => {
  assertThrows(() => masks("none"), InputError, "cannot read");
  assertThrows(() => masks("b/*.nrrd"), InputError, "holds no scan");
  assertThrows(() => masks("twice"), InputError, "both have the mask x-seg.nii.gz");
});

Deno.test("a pattern is read from the folder above it", () => {
  assertEquals(placeOf("scans/*/t1c.nii"), { folder: "scans", isPattern: true });
  assertEquals(placeOf("*.nii"), { folder: ".", isPattern: true });
  assertEquals(placeOf("scans"), { folder: "scans", isPattern: false });
});
