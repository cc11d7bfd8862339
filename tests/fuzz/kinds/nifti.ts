import { joinBytes } from "../../../lib/byte_source.ts";
import { assert, assertEquals } from "@std/assert";
import { readNifti, writeNifti } from "../../../lib/data/nifti_file.ts";
import fc from "fast-check";
import { Gunzip } from "fflate";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import type { Volume } from "../../../lib/formats/volume.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import {
  applyAll,
  byteEdit,
  type Edit,
  HOSTILE_FLOATS,
  HOSTILE_INTEGERS,
  labels,
  place,
  some,
} from "../mutations.ts";
import { NIFTI_FIELDS, niftiContent } from "./nifti_oracle.ts";

const fixtures = join(import.meta.dirname!, "..", "..", "formats", "fixtures");

const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** Sound volumes of every type, byte order and version, uncompressed. */
const seeds: readonly (readonly [string, Uint8Array])[] = [...Deno.readDirSync(fixtures)]
  .map(({ name }) => name)
  .filter((name) => /\.nii(\.gz)?$/.test(name))
  .sort()
  .map((name) => {
    const bytes = Deno.readFileSync(join(fixtures, name));
    return [name, isGzip(bytes) ? new Uint8Array(gunzipSync(bytes)) : bytes] as const;
  });

/** A header's version and byte order, if it still has them. */
function order(bytes: Uint8Array): { version: 1 | 2; little: boolean } | null {
  if (bytes.length < 348) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const little of [true, false]) {
    const length = view.getInt32(0, little);
    if (length === 348) return { version: 1, little };
    if (length === 540 && bytes.length >= 540) return { version: 2, little };
  }
  return null;
}

type Put = (
  view: DataView,
  options: { version: 1 | 2; little: boolean; fields: typeof NIFTI_FIELDS[1 | 2] },
) => void;

function headerEdit(label: string, put: Put): Edit {
  return {
    label,
    apply: (bytes) => {
      const found = order(bytes);
      if (!found) return bytes;
      const copy = bytes.slice();
      put(new DataView(copy.buffer), { ...found, fields: NIFTI_FIELDS[found.version] });
      return copy;
    },
  };
}

const anyFloat = fc.oneof(fc.constantFrom(...HOSTILE_FLOATS), fc.float(), fc.double());

const dimension = fc.oneof(
  fc.constantFrom(0, 1, -1, 2, 3, 7, 255, 32767, -32768, 4096),
  fc.integer({ min: 1, max: 70 }),
);

const setDim = (view: DataView, { version, little }: { version: 1 | 2; little: boolean }) =>
(
  i: number,
  value: number,
) =>
  version === 1
    ? view.setInt16(40 + 2 * i, value, little)
    : view.setBigInt64(16 + 8 * i, BigInt(value), little);

const setFloat = (view: DataView, { version, little }: { version: 1 | 2; little: boolean }) =>
(
  at: number,
  value: number,
) => version === 1 ? view.setFloat32(at, value, little) : view.setFloat64(at, value, little);

/** Changes to the fields of a header. */
const fieldEdit: fc.Arbitrary<Edit> = fc.oneof(
  fc.tuple(fc.nat({ max: 7 }), dimension).map(([i, value]) =>
    headerEdit(`dim[${i}] = ${value}`, (view, where) => setDim(view, where)(i, value))
  ),
  fc.array(dimension, { minLength: 3, maxLength: 7 }).map((dims) =>
    headerEdit(`dim = ${dims}`, (view, where) => {
      const set = setDim(view, where);
      set(0, dims.length);
      dims.forEach((value, i) => set(1 + i, value));
    })
  ),
  fc.constantFrom(2 ** 40, 2 ** 53, 2 ** 62, -(2 ** 62), 2 ** 21).map((value) =>
    headerEdit(`three dims of ${value}`, (view, where) => {
      const set = setDim(view, where);
      [1, 2, 3].forEach((i) => set(i, where.version === 1 ? 32767 : value));
    })
  ),
  fc.constantFrom(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, -1)
    .map((code) =>
      headerEdit(
        `datatype ${code}`,
        (view, { little, fields }) => view.setInt16(fields.datatype, code, little),
      )
    ),
  fc.tuple(fc.nat({ max: 7 }), anyFloat).map(([i, value]) =>
    headerEdit(
      `pixdim[${i}] = ${value}`,
      (view, where) =>
        setFloat(view, where)(where.fields.pixdim[0] + where.fields.pixdim[1] * i, value),
    )
  ),
  fc.oneof(anyFloat, fc.constantFrom(0, 348, 352, 353, 540, 544, 1000)).map((value) =>
    headerEdit(
      `vox_offset ${value}`,
      (view, { version, little, fields }) =>
        version === 1 ? view.setFloat32(fields.offset, value, little) : view.setBigInt64(
          fields.offset,
          BigInt(Math.trunc(Number.isFinite(value) ? value % 2 ** 63 : -1)),
          little,
        ),
    )
  ),
  fc.tuple(anyFloat, anyFloat).map(([slope, inter]) =>
    headerEdit(`slope ${slope}, intercept ${inter}`, (view, where) => {
      const set = setFloat(view, where);
      set(where.fields.slope, slope);
      set(where.fields.inter, inter);
    })
  ),
  fc.tuple(fc.constantFrom(-1, 0, 1, 2, 4, 32767), fc.constantFrom(-1, 0, 1, 2, 32767)).map((
    [q, s],
  ) =>
    headerEdit(`qform ${q}, sform ${s}`, (view, { version, little, fields }) => {
      if (version === 1) {
        view.setInt16(fields.qform, q, little);
        view.setInt16(fields.sform, s, little);
      } else {
        view.setInt32(fields.qform, q, little);
        view.setInt32(fields.sform, s, little);
      }
    })
  ),
  fc.tuple(fc.nat({ max: 17 }), anyFloat).map(([i, value]) =>
    headerEdit(
      `geometry[${i}] = ${value}`,
      (view, where) =>
        setFloat(view, where)(where.fields.quaternion + (where.version === 1 ? 4 : 8) * i, value),
    )
  ),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((magic) =>
    headerEdit(
      `magic ${magic}`,
      (view, { fields }) => magic.forEach((byte, i) => view.setUint8(fields.magic + i, byte)),
    )
  ),
  fc.uint8Array({ maxLength: 79 }).map((text) =>
    headerEdit(
      "description",
      (view, { fields }) => text.forEach((byte, i) => view.setUint8(fields.description + i, byte)),
    )
  ),
  fc.constantFrom(...HOSTILE_INTEGERS).map((value) =>
    headerEdit(`sizeof_hdr ${value}`, (view, { little }) => view.setInt32(0, value, little))
  ),
);

/** A volume that is sound, or was. */
const uncompressed: fc.Arbitrary<{ edits: string[]; bytes: Uint8Array; seed: string }> = fc.tuple(
  fc.constantFrom(...seeds),
  some(fc.oneof({ weight: 4, arbitrary: fieldEdit }, { weight: 1, arbitrary: byteEdit })),
).map(([[seed, bytes], edits]) => ({
  edits: labels(edits),
  bytes: applyAll(bytes, edits),
  seed,
}));

/** Changes to a gzip stream: its header, its members, its end. */
const gzipEdit: fc.Arbitrary<Edit> = fc.oneof(
  byteEdit,
  fc.nat({ max: 255 }).map((flags) => ({
    label: `gzip flags ${flags}`,
    apply: (bytes: Uint8Array) => {
      const copy = bytes.slice();
      if (copy.length > 3) copy[3] = flags;
      return copy;
    },
  })),
  fc.constant({
    label: "a second member of the same",
    apply: (bytes: Uint8Array) => Uint8Array.from([...bytes, ...bytes]),
  }),
  fc.uint8Array({ minLength: 1, maxLength: 64 }).map((tail) => ({
    label: "bytes after the end",
    apply: (bytes: Uint8Array) => Uint8Array.from([...bytes, ...tail]),
  })),
  fc.tuple(place, fc.constantFrom(0, 1, 2)).map(([where, count]) => ({
    label: `an empty member ${count} times`,
    apply: (bytes: Uint8Array) =>
      Uint8Array.from([
        ...Array(count + Math.round(Math.abs(where) % 2)).fill([...empty]).flat(),
        ...bytes,
      ]),
  })),
);

const empty = new Uint8Array(gzipSync(new Uint8Array(0)));

/** Compressed zeros, a megabyte and sixteen: as members of one stream they make a bomb of any size. */
const zeros = [20, 24].map((log) =>
  new Uint8Array(gzipSync(new Uint8Array(2 ** log), { level: 9 }))
);

/** A header that promises much, before zeros that unpack to more, or to less. */
const bomb: fc.Arbitrary<FuzzCase> = fc.tuple(
  fc.constantFrom([512, 512, 16], [1024, 1024, 128], [2048, 2048, 1024], [32767, 32767, 32767]),
  fc.constantFrom(2, 4, 16, 64),
  fc.tuple(fc.nat({ max: 20 }), fc.constantFrom(0, 0, 0, 1, 2, 8)),
).map(([dims, datatype, [small, large]]) => {
  const [, sound] = seeds.find(([name]) => name.startsWith("uint8_nifti1"))!;
  const header = sound.slice(0, 352);
  const view = new DataView(header.buffer);
  const little = view.getInt32(0, true) === 348;
  dims.forEach((value, i) => view.setInt16(42 + 2 * i, value, little));
  view.setInt16(70, datatype, little);
  const bytes = joinBytes([
    new Uint8Array(gzipSync(header)),
    ...Array(small).fill(zeros[0]),
    ...Array(large).fill(zeros[1]),
  ]);
  return {
    edits: [`${small + 16 * large} MiB of zeros for ${dims} of type ${datatype}`],
    files: { "volume.nii.gz": bytes },
  };
});

/** Checks every volume that is accepted. */
function checkVolume({ data, shape, spacing, affine }: Volume): void {
  assertEquals(data.length, shape[0] * shape[1] * shape[2]);
  assert(shape.every((n) => Number.isInteger(n) && n >= 1), `shape ${shape}`);
  assert(spacing.every((mm) => Number.isFinite(mm) && mm > 0), `spacing ${spacing}`);
  assert(affine.every(Number.isFinite), `affine ${affine}`);
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) throw new Error(`voxel ${i} is ${data[i]}`);
  }
}

/** Voxels up to which a volume is read a second time, and written. */
const CHECKED_VOXELS = 2 ** 17;

/** Content of a .gz file up to bytes that are no member, by a reader that does not trust its trailer's size. */
function membersOf(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  try {
    new Gunzip((part) => parts.push(part)).push(bytes, true);
  } catch {
    // Other bytes follow.
  }
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Content of a .gz file; that of its members where other bytes follow. */
function unpacked(bytes: Uint8Array): Uint8Array {
  try {
    return new Uint8Array(gunzipSync(bytes));
  } catch {
    return membersOf(bytes);
  }
}

async function read(folder: string, name: string): Promise<void> {
  const path = join(folder, name);
  const volume = await readNifti(path);
  checkVolume(volume);
  if (volume.data.length > CHECKED_VOXELS) return;
  const bytes = Deno.readFileSync(path);
  const own = niftiContent(isGzip(bytes) ? unpacked(bytes) : bytes);
  assertEquals([...volume.shape], [...own.shape]);
  const other = volume.data.findIndex((value, i) => value !== own.data[i]);
  assertEquals(other, -1, `voxel ${other} is ${volume.data[other]}, not ${own.data[other]}`);
  if (own.sform) assertEquals([...volume.affine.subarray(0, 12)], own.sform);
  const written = join(folder, "written.nii");
  await writeNifti(written, volume, { datatype: "float32" });
  const again = await readNifti(written);
  assertEquals(again.data, volume.data);
  assertEquals(again.affine, volume.affine);
}

/** NIfTI volumes as they are. */
export const nifti: Kind = {
  name: "nifti",
  cases: uncompressed.map(({ edits, bytes }) => ({ edits, files: { "volume.nii": bytes } })),
  read: (folder) => read(folder, "volume.nii"),
};

/** NIfTI volumes that are compressed, and bombs. */
export const niftiGz: Kind = {
  name: "nifti_gz",
  cases: fc.oneof(
    {
      weight: 60,
      arbitrary: fc.tuple(uncompressed, some(gzipEdit, 2)).map(([{ edits, bytes }, more]) => ({
        edits: [...edits, ...labels(more)],
        files: {
          "volume.nii.gz": applyAll(new Uint8Array(gzipSync(bytes, { level: 1 })), more),
        },
      })),
    },
    { weight: 1, arbitrary: bomb },
  ),
  read: (folder) => read(folder, "volume.nii.gz"),
};
