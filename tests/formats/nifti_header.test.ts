import { assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { gunzipSync, gzipSync } from "node:zlib";
import { InputError } from "../../lib/errors.ts";
import { createVolume, type Volume } from "../../lib/formats/volume.ts";
import { inTemporaryFolder } from "../data/temporary.ts";

const FIXTURES = join(import.meta.dirname!, "fixtures");

type Change = (view: DataView) => void;

/** Bytes of a fixture after a change of its header. */
function changed(name: string, change: Change): Uint8Array {
  const packed = Deno.readFileSync(join(FIXTURES, name));
  const bytes = name.endsWith(".gz") ? new Uint8Array(gunzipSync(packed)) : packed;
  change(new DataView(bytes.buffer, bytes.byteOffset));
  return bytes;
}

/** Reads a changed fixture, and what is written of it under its own header. */
async function readChanged(name: string, change: Change): Promise<[Volume, written: Uint8Array]> {
  const read: [Volume, Uint8Array][] = [];
  await inTemporaryFolder(async (folder) => {
    const [path, mask] = [join(folder, "v.nii"), join(folder, "mask.nii")];
    await Deno.writeFile(path, changed(name, change));
    const volume = await readNifti(path);
    await writeNifti(mask, volume, { datatype: "float32" });
    const back = await readNifti(mask);
    assertEquals(back.affine, volume.affine);
    assertEquals(back.spacing, volume.spacing);
    assertEquals(back.data, volume.data);
    read.push([volume, await Deno.readFile(mask)]);
  });
  return read[0];
}

/** Scales pixdim, the quaternion's offset and the sform of a little-endian NIfTI-1 header. */
function inUnit(view: DataView, { factor, code }: { factor: number; code: number }): void {
  for (
    const at of [
      80,
      84,
      88,
      268,
      272,
      276,
      ...Array.from({ length: 12 }, (_, i) => 280 + 4 * i),
    ]
  ) {
    view.setFloat32(at, view.getFloat32(at, true) * factor, true);
  }
  view.setUint8(123, code);
}

const nifti1 = "uint8_nifti1_little.nii";
const plain: Volume = await readNifti(join(FIXTURES, nifti1));

for (const [unit, code, factor] of [["metres", 1, 1e-3], ["micrometres", 3, 1e3]] as const) {
  Deno.test(`lengths in ${unit} become millimetres, and a mask keeps the header`, async () => {
    const [volume, mask] = await readChanged(nifti1, (view) => inUnit(view, { factor, code }));
    volume.affine.forEach((mm, i) => assertAlmostEquals(mm, plain.affine[i], 1e-5));
    volume.spacing.forEach((mm, i) => assertAlmostEquals(mm, plain.spacing[i], 1e-6));
    assertMatch(volume.notes.join(), new RegExp(`its lengths are in ${unit}`));
    const header = changed(nifti1, (view) => inUnit(view, { factor, code })).subarray(0, 348);
    const ofVoxels = (i: number) => i >= 70 && i < 74 || i >= 108 && i < 132 && i !== 123;
    for (const [i, byte] of header.entries()) {
      if (!ofVoxels(i)) assertEquals(mask[i], byte, `byte ${i}`);
    }
  });
}

/** Gives a little-endian NIfTI-1 header a sform of zeros. */
function zeroSform(view: DataView): void {
  view.setInt16(254, 2, true);
  for (let i = 0; i < 12; i++) view.setFloat32(280 + 4 * i, 0, true);
}

Deno.test("a sform of zeros gives way to the qform, which is said", async () => {
  const [volume] = await readChanged("qform_only.nii.gz", zeroSform);
  const own = await readNifti(join(FIXTURES, "qform_only.nii.gz"));
  assertEquals(volume.affine, own.affine);
  assertEquals(own.notes, []);
  assertMatch(volume.notes.join(), /its sform cannot be used .* so its qform is$/);
});

Deno.test("without a form that can be used the spacing is pixdim's, and the orientation unknown", async () => {
  for (const sform of [2, 0]) {
    const [volume] = await readChanged("qform_only.nii.gz", (view) => {
      zeroSform(view);
      view.setInt16(252, 0, true);
      view.setInt16(254, sform, true);
    });
    assertEquals(volume.spacing, [2, 1.5, 2.5]);
    assertEquals([...volume.affine], [2, 0, 0, 0, 0, 1.5, 0, 0, 0, 0, 2.5, 0, 0, 0, 0, 1]);
    assertEquals(volume.isPlaced, false);
    assertMatch(volume.notes.join(), /its orientation is unknown, .* 2 x 1.5 x 2.5 mm$/);
  }
});

Deno.test("a negative pixdim counts as positive in the qform, as nibabel takes it", async () => {
  const { affine } = await readNifti(join(FIXTURES, "qform_only.nii.gz"));
  const [volume] = await readChanged("qform_only.nii.gz", (view) => {
    for (const at of [80, 84]) view.setFloat32(at, -view.getFloat32(at, true), true);
  });
  assertEquals(volume.affine, affine);
  assertEquals(volume.notes, ["its pixdim has a negative size, which is taken as positive"]);
});

Deno.test("where pixdim and sform differ the sform gives the spacing, which is said", async () => {
  const [volume] = await readChanged(nifti1, (view) => {
    for (const at of [80, 84, 88]) view.setFloat32(at, 10 * view.getFloat32(at, true), true);
  });
  volume.spacing.forEach((mm, i) => assertAlmostEquals(mm, plain.spacing[i], 1e-6));
  assertMatch(volume.notes.join(), /its pixdim \(15.13 x .* differ: the sform is used/);
});

for (const name of ["int16_nifti2_little.nii", "float64_nifti2_big.nii", "int16_nifti1_big.nii"]) {
  Deno.test(`a mask of ${name} keeps version, byte order and every field but those of voxels`, async () => {
    const [volume, mask] = await readChanged(name, () => {});
    const own = Deno.readFileSync(join(FIXTURES, name)).subarray(0, volume.header!.length);
    const [first, last] = own.length === 348 ? [70, 132] : [12, 208];
    const other = [...own.keys()].filter((i) => own[i] !== mask[i] && (i < first || i >= last));
    assertEquals(other, []);
  });
}

Deno.test("bytes after a .gz are passed over, which is said", () =>
  inTemporaryFolder(async (folder) => {
    const packed = gzipSync(changed(nifti1, () => {}));
    const named = Buffer.concat([
      packed.subarray(0, 3),
      Buffer.from([8]),
      packed.subarray(4, 10),
      Buffer.from("v.nii\0"),
      packed.subarray(10),
    ]);
    const trailers = [1, 512, 600_000].map((zeros) => new Uint8Array(zeros));
    trailers.push(new TextEncoder().encode("what an older, longer file left".repeat(99)));
    const path = join(folder, "padded.nii.gz");
    for (const whole of [packed, named]) {
      for (const trailer of trailers) {
        await Deno.writeFile(path, new Uint8Array(Buffer.concat([whole, trailer])));
        const { data, notes } = await readNifti(path);
        assertEquals(data, plain.data);
        assertEquals(notes, ["its .gz stream is followed by other bytes, which are passed over"]);
      }
      await Deno.writeFile(path, whole);
      assertEquals((await readNifti(path)).notes, []);
    }
    // A volume of several blocks, and the same with a wrong checksum.
    const large = createVolume(Float32Array.from({ length: 2 ** 18 }, (_, i) => i * 7 % 1013), {
      shape: [512, 512, 1],
    });
    await writeNifti(path, large, { datatype: "float32" });
    const bytes = Buffer.concat([await Deno.readFile(path), trailers.at(-1)!]);
    await Deno.writeFile(path, bytes);
    assertEquals((await readNifti(path)).data, large.data);
    bytes[bytes.length - trailers.at(-1)!.length - 8] ^= 1;
    await Deno.writeFile(path, bytes);
    await assertRejects(() => readNifti(path), InputError, "incorrect data check");
  }));
