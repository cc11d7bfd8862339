import { assertEquals, assertThrows } from "@std/assert";
import { basename, dirname, join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { maskName } from "../../lib/predict/mask_name.ts";
import { expandPatterns, placeOf } from "../../lib/predict/paths.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
for (
  const name of [
    "a/x-t1c.nii.gz",
    "a/x-seg.nii.gz",
    "b/y_0000.nii",
    "b/notes.txt",
    "c, d/z [1].NII",
  ]
) {
  await Deno.mkdir(dirname(join(folder, name)), { recursive: true });
  await Deno.writeTextFile(join(folder, name), "");
}

const names = (...paths: string[]) =>
  expandPatterns(paths.map((path) => join(folder, path))).map((path) => basename(path));

Deno.test("patterns give the volumes that they match; paths that exist are none", () => {
  assertEquals(names("a/*-t1c.nii.gz"), ["x-t1c.nii.gz"]);
  assertEquals(names("**/*.nii*"), ["x-seg.nii.gz", "x-t1c.nii.gz", "y_0000.nii"]);
  assertEquals(names("{a,b}/?_000[0-3].nii", "b/y_0000.nii"), ["y_0000.nii"]);
  assertEquals(names("c, d/z [1].NII", "a"), ["z [1].NII", "a"]);
  assertEquals(names("b/y_000[!1-9].nii"), ["y_0000.nii"]);
  assertThrows(() => names("b/*.txt"), InputError, "matches no volume");
  assertThrows(() => names("none/*.nii"), InputError, "cannot read");
  assertEquals(placeOf("scans/*/t1c.nii"), { folder: "scans", isPattern: true });
  assertEquals(placeOf("*.nii"), { folder: ".", isPattern: true });
  assertEquals(placeOf("scans"), { folder: "scans", isPattern: false });
});

Deno.test("masks bear nnU-Net's and BIDS's names where the scans do", () => {
  const mask = (id: string, path: string) => maskName({ id, path });
  assertEquals(mask("tumour_007", "imagesTr/tumour_007_0000.nii.gz"), "tumour_007.nii.gz");
  const bids = "sub-01/ses-02/anat/sub-01_ses-02_ce-gadolinium_T1w.nii";
  assertEquals(mask("sub-01_ses-02", bids), "sub-01_ses-02_ce-gadolinium_dseg.nii.gz");
  assertEquals(mask("A-1-000", "A-1-000/A-1-000-t1c.nii.gz"), "A-1-000-seg.nii.gz");
  assertEquals(mask("scan", "scan.NII.GZ"), "scan-seg.nii.gz");
});
