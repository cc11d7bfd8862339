import { assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { InputError } from "../../lib/errors.ts";
import { createVolume, type Volume } from "../../lib/formats/volume.ts";

const FIXTURES = join(import.meta.dirname!, "fixtures");

interface Facts {
  shape: number[];
  spacing: number[];
  affine: number[];
  data: number[];
}
const facts: Record<string, Facts> = JSON.parse(
  Deno.readTextFileSync(join(FIXTURES, "nifti.json")),
);

for (const [name, expected] of Object.entries(facts)) {
  Deno.test(`${name} reads as nibabel reads it`, async () => {
    const volume = await readNifti(join(FIXTURES, name));
    assertEquals([...volume.shape], expected.shape);
    volume.spacing.forEach((mm, i) => assertAlmostEquals(mm, expected.spacing[i], 1e-6));
    volume.affine.forEach((a, i) => assertAlmostEquals(a, expected.affine[i], 1e-5, `affine ${i}`));
    assertEquals([...volume.data], [...Float32Array.from(expected.data)]);
  });
}

const temporary = async (body: (folder: string) => Promise<void>) => {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
};

const ramp = (shape: [number, number, number], options = {}): Volume =>
  createVolume(
    Float32Array.from({ length: shape[0] * shape[1] * shape[2] }, (_, i) => i % 200),
    { shape, ...options },
  );

async function refusal(path: string): Promise<string> {
  const error = await assertRejects(() => readNifti(path), InputError);
  assertMatch(error.message, new RegExp(path.split("/").at(-1)!.replaceAll(".", "\\.")));
  return error.message;
}

for (const datatype of ["uint8", "int16", "float32"] as const) {
  for (const name of ["v.nii", "v.nii.gz"]) {
    Deno.test(`a volume written as ${datatype} to ${name} reads back equal`, () =>
      temporary(async (folder) => {
        const affine = Float64Array.of(-2, 0, 0, 9, 0, 1.5, 0, -7, 0, 0, 3, 4, 0, 0, 0, 1);
        const volume = ramp([7, 5, 3], { spacing: [2, 1.5, 3], affine });
        await writeNifti(join(folder, name), volume, { datatype, description: "a ramp" });
        const { header, ...back } = await readNifti(join(folder, name));
        const { header: _, ...given } = volume;
        assertEquals(back, given);
        assertEquals(new TextDecoder().decode(header!.subarray(148, 154)), "a ramp");
        assertEquals([...Deno.readDirSync(folder)].map((entry) => entry.name), [name]);
      }));
  }
}

Deno.test("a quaternion geometry survives writing", () =>
  temporary(async (folder) => {
    const before = await readNifti(join(FIXTURES, "qform_only.nii.gz"));
    await writeNifti(join(folder, "v.nii"), before, { datatype: "int16" });
    const after = await readNifti(join(folder, "v.nii"));
    after.affine.forEach((a, i) => assertAlmostEquals(a, before.affine[i], 1e-5));
    assertEquals(after.data, before.data);
  }));

Deno.test("a value that does not fit the type is refused and leaves no file", () =>
  temporary(async (folder) => {
    const volume = createVolume(Float32Array.of(0, 300), { shape: [2, 1, 1] });
    await assertRejects(
      () => writeNifti(join(folder, "v.nii"), volume, { datatype: "uint8" }),
      InputError,
      "300 as uint8",
    );
    assertEquals([...Deno.readDirSync(folder)], []);
  }));

Deno.test("a volume larger than one block reads back equal through gzip", () =>
  temporary(async (folder) => {
    const volume = ramp([101, 103, 31]);
    await writeNifti(join(folder, "v.nii.gz"), volume, { datatype: "float32" });
    assertEquals((await readNifti(join(folder, "v.nii.gz"))).data, volume.data);
  }));

Deno.test("a gzip file of several members reads whole", () =>
  temporary(async (folder) => {
    const volume = ramp([7, 5, 3]);
    await writeNifti(join(folder, "v.nii"), volume, { datatype: "uint8" });
    const raw = await Deno.readFile(join(folder, "v.nii"));
    const members = [gzipSync(raw.subarray(0, 400)), gzipSync(raw.subarray(400))];
    await Deno.writeFile(join(folder, "m.nii.gz"), new Uint8Array(members.flatMap((m) => [...m])));
    assertEquals((await readNifti(join(folder, "m.nii.gz"))).data, volume.data);
  }));

for (const keep of [1, 20, 200, -9, -1]) {
  Deno.test(`a .nii.gz cut ${keep > 0 ? `to ${keep} bytes` : `by ${-keep}`} is refused`, () =>
    temporary(async (folder) => {
      await writeNifti(join(folder, "w.nii.gz"), ramp([30, 30, 30]), { datatype: "float32" });
      const bytes = await Deno.readFile(join(folder, "w.nii.gz"));
      await Deno.writeFile(join(folder, "cut.nii.gz"), bytes.slice(0, keep));
      assertMatch(await refusal(join(folder, "cut.nii.gz")), /truncated|not a NIfTI/);
    }));
}

Deno.test("a .nii that ends too early is refused", () =>
  temporary(async (folder) => {
    await writeNifti(join(folder, "w.nii"), ramp([9, 9, 9]), { datatype: "uint8" });
    await Deno.writeFile(
      join(folder, "cut.nii"),
      Deno.readFileSync(join(folder, "w.nii")).slice(0, 999),
    );
    assertMatch(await refusal(join(folder, "cut.nii")), /promises 9 x 9 x 9 voxels/);
  }));

/** Writes a small volume with some header bytes changed. */
async function altered(folder: string, name: string, change: (view: DataView) => void) {
  const path = join(folder, name);
  await writeNifti(join(folder, "whole.nii"), ramp([4, 4, 4]), { datatype: "float32" });
  const bytes = await Deno.readFile(join(folder, "whole.nii"));
  change(new DataView(bytes.buffer));
  await Deno.writeFile(path, name.endsWith(".gz") ? gzipSync(bytes) : bytes);
  return path;
}

const damages: [string, (view: DataView) => void, RegExp][] = [
  ["a wrong magic", (v) => v.setUint8(344, 0), /not a NIfTI file/],
  ["a wrong header size", (v) => v.setInt32(0, 1234, true), /not a NIfTI file/],
  ["half of a .hdr/.img pair", (v) => v.setUint8(345, 0x69), /\.hdr\/\.img pair/],
  ["a negative side", (v) => v.setInt16(42, -4, true), /impossible dimensions/],
  ["no sides at all", (v) => v.setInt16(40, 0, true), /impossible dimensions/],
  ["more voxels than the file holds", (v) => v.setInt16(42, 32767, true), /32767 x 4 x 4/],
  ["two volumes", (v) => (v.setInt16(40, 4, true), v.setInt16(48, 2, true)), /one 3D volume/],
  ["complex voxels", (v) => v.setInt16(70, 32, true), /datatype 32/],
  ["voxels inside the header", (v) => v.setFloat32(108, 12, true), /inside the header/],
  ["a NaN voxel", (v) => v.setFloat32(352 + 4 * 22, NaN, true), /1 voxel .* x, y, z = 2, 1, 1/],
  ["infinite voxels", (v) => {
    v.setFloat32(352, Infinity, true);
    v.setFloat32(360, -Infinity, true);
  }, /2 voxels .* x, y, z = 0, 0, 0/],
];
for (const [what, change, message] of damages) {
  for (const name of ["bad.nii", "bad.nii.gz"]) {
    Deno.test(`${name} with ${what} is refused in one sentence`, () =>
      temporary(async (folder) => {
        const text = await refusal(await altered(folder, name, change));
        assertMatch(text, message);
        assertEquals(text.includes("\n"), false);
      }));
  }
}

Deno.test("a .nii.gz that promises more voxels than it could hold is refused before any are read", () =>
  temporary(async (folder) => {
    const path = await altered(folder, "bomb.nii.gz", (v) => {
      for (const at of [42, 44, 46]) v.setInt16(at, 30000, true);
    });
    assertMatch(await refusal(path), /30000 x 30000 x 30000/);
  }));

Deno.test("a slope of 0 means unscaled, and the qform-less, sform-less affine is the spacing", () =>
  temporary(async (folder) => {
    const path = await altered(folder, "plain.nii", (v) => {
      v.setFloat32(112, 0, true);
      v.setFloat32(116, 5, true);
      v.setInt16(254, 0, true);
      v.setFloat32(80, 0.5, true);
    });
    const volume = await readNifti(path);
    assertEquals(volume.data[3], 3);
    assertEquals(volume.affine[0], 0.5);
    assertEquals(volume.spacing[0], 0.5);
  }));

Deno.test("a missing file, a folder and an empty file are refused", () =>
  temporary(async (folder) => {
    assertMatch(await refusal(join(folder, "none.nii")), /cannot read/);
    assertMatch(await refusal(folder), /not a file/);
    await Deno.writeFile(join(folder, "empty.nii.gz"), new Uint8Array(0));
    assertMatch(await refusal(join(folder, "empty.nii.gz")), /not a NIfTI/);
  }));
