import { assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { basename, join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { filesOf } from "../../lib/data/detached.ts";
import { readImage, readSegmentation } from "../../lib/data/read_volume.ts";
import { inTemporaryFolder } from "./temporary.ts";

const FIXTURES = join(import.meta.dirname!, "..", "formats", "fixtures", "formats");

/** A file as the program that wrote it, or SimpleITK, reads it. */
interface Facts {
  shape: number[];
  spacing?: number[];
  affine?: number[];
  data: number[];
}
const facts: Record<string, Facts> = JSON.parse(
  Deno.readTextFileSync(join(FIXTURES, "formats.json")),
);

/** Largest difference of a pixel where decoders may round otherwise. */
const TOLERANCE: Record<string, number> = { "grey.jpg": 1, "colour.png": 1e-4 };

for (const [name, expected] of Object.entries(facts)) {
  if (!name.includes(".")) continue; // a folder of DICOM
  Deno.test(`${name} reads as the program that wrote it reads it`, async () => {
    const volume = await readImage(join(FIXTURES, name));
    assertEquals([...volume.shape], expected.shape);
    const largest = expected.data.reduce(
      (most, value, i) => Math.max(most, Math.abs(value - volume.data[i])),
      0,
    );
    assertEquals(largest <= (TOLERANCE[name] ?? 0), true, `voxels differ by ${largest}`);
    assertEquals(volume.isPlaced, expected.affine !== undefined);
    const least = name.startsWith("nifti") ? 1e-6 : 1e-9; // its header has float32
    expected.affine?.forEach((mm, i) => assertAlmostEquals(volume.affine[i], mm, least, `${i}`));
    const spacing = expected.spacing ?? [1, 1, 1];
    spacing.forEach((mm, i) => assertAlmostEquals(volume.spacing[i], mm, least));
    assertEquals(volume.notes.length, Number(!volume.isPlaced) + Number(name === "colour.png"));
  });

  Deno.test(`${name} cut short is refused in a sentence`, () =>
    inTemporaryFolder(async (folder) => {
      const files = filesOf(join(FIXTURES, name)).map((path) => basename(path));
      const path = join(folder, name);
      for (const file of files) {
        for (const other of files) await Deno.copyFile(join(FIXTURES, other), join(folder, other));
        const bytes = await Deno.readFile(join(FIXTURES, file));
        for (const part of [0, 3, 0.5, 0.9]) {
          await Deno.writeFile(
            join(folder, file),
            bytes.subarray(0, part < 1 ? part * bytes.length : part),
          );
          if (name === "grey.jpg" && part >= 0.5) continue; // decoders show what there is
          const error = await assertRejects(() => readImage(path), InputError);
          assertMatch(error.message, new RegExp(name.replace(".", "\\.")));
          assertEquals(error.message.includes("\n"), false);
        }
      }
    }));
}

for (
  const [name, from, change, says] of [
    [
      "detached.nrrd",
      "int16.nrrd",
      ["encoding:", "data file: x.raw\nencoding:"],
      "in another file",
    ],
    ["type.nrrd", "int16.nrrd", ["type: short", "type: block"], "holds block voxels"],
    ["sizes.nrrd", "float32.nrrd", ["sizes: 6 5 4", "sizes: 6 5 400"], "truncated or damaged"],
    ["huge.nrrd", "int16.nrrd", ["sizes: 6 5 4", "sizes: 99999 99999 99999"], "voxels, and 1 to"],
    ["bomb.nrrd", "int16.nrrd", ["sizes: 6 5 4", "sizes: 600 600 600"], "of the 432000000 bytes"],
    ["flat.nrrd", "float32.nrrd", [
      /space directions: .*/,
      "space directions: (1,0,0) (1,0,0) (0,0,1)",
    ], "do not span a space"],
    ["detached.mha", "float64.mha", ["LOCAL", "x.raw"], "in another file"],
    [
      "rgb.mha",
      "float64.mha",
      ["ElementType", "ElementNumberOfChannels = 3\nElementType"],
      "holds 3 MET_DOUBLE a voxel",
    ],
    ["behind.mha", "float64.mha", ["ElementType", "HeaderSize = 8\nElementType"], "(HeaderSize)"],
    ["away.mhd", "pair.mhd", ["pair.raw", "../pair.raw"], "put that file beside it"],
    ["missing.mhd", "pair.mhd", ["pair.raw", "gone.raw"], "gone.raw (No such file"],
    ["parts.mhd", "pair.mhd", ["pair.raw", "LIST"], "LIST (No such file"],
    ["away.nhdr", "raw_pair.nhdr", ["raw_pair.raw", "/etc/passwd"], "put that file beside it"],
    ["away_windows.nhdr", "raw_pair.nhdr", ["raw_pair.raw", "a\\\\b"], "put that file beside it"],
    ["single.hdr", "nifti_pair.hdr", ["ni1", "n+1"], "no header of a NIfTI pair"],
    ["alone.hdr", "nifti_pair.hdr", [/\0$/, "\x01"], "alone.img (No such file"],
    ["sizes.mha", "uint8.mha", ["DimSize = 6 5 4", "DimSize = 6 5 5"], "to 120 of the 150 bytes"],
  ] as [string, string, [string | RegExp, string], string][]
) {
  Deno.test(`${name} is refused: ${says}`, () =>
    inTemporaryFolder(async (folder) => {
      const bytes = await Deno.readFile(join(FIXTURES, from));
      const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
      const changed = text.replace(...change);
      assertEquals(changed === text, false, text.slice(0, 600));
      await Deno.writeFile(
        join(folder, name),
        Uint8Array.from(changed, (letter) => letter.charCodeAt(0)),
      );
      await assertRejects(() => readImage(join(folder, name)), InputError, says);
    }));
}

Deno.test("a file of another ending, and a mask in a format with loss, are refused", async () => {
  await assertRejects(() => readImage("a.txt"), InputError, "a.txt is of no format that is read");
  await assertRejects(
    () => readSegmentation(join(FIXTURES, "grey.jpg")),
    InputError,
    "compressed with loss",
  );
});
