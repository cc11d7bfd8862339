import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { readImage } from "../../../lib/data/read_volume.ts";
import type { Volume } from "../../../lib/formats/volume.ts";
import type { Kind } from "../kind.ts";
import { applyAll, byteEdit, type Edit, labels, some } from "../mutations.ts";

const fixtures = join(import.meta.dirname!, "..", "..", "formats", "fixtures", "formats");

/** Sound files of every format but NIfTI, with what they hold. */
const seeds: readonly (readonly [name: string, bytes: Uint8Array])[] = [
  ...Deno.readDirSync(fixtures),
].map(({ name }) => name).filter((name) => /\.(nrrd|mha|png|tiff?|jpg)$/.test(name)).sort()
  .map((name) => [name, Deno.readFileSync(join(fixtures, name))]);

/** Numbers that stand in the place of one in a text header. */
const NUMBERS = ["0", "-1", "1", "7", "999999999", "1e308", "nan", "0.5", "4294967296", ""];

/** Another number in a text header, as NRRD and MetaImage have it. */
const numberEdit: fc.Arbitrary<Edit> = fc.tuple(fc.nat({ max: 40 }), fc.constantFrom(...NUMBERS))
  .map(
    ([place, value]) => ({
      label: `number ${place} becomes ${value}`,
      apply: (bytes) => {
        const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
        let count = 0;
        const changed = text.replace(
          /-?\d+(\.\d+)?/g,
          (number) => count++ === place ? value : number,
        );
        return Uint8Array.from(changed, (letter) => letter.charCodeAt(0));
      },
    }),
  );

/** Checks every volume that is accepted. */
export function checkVolume({ data, shape, spacing, affine }: Volume): void {
  assertEquals(data.length, shape[0] * shape[1] * shape[2]);
  assert(shape.every((n) => Number.isInteger(n) && n >= 1), `shape ${shape}`);
  assert(spacing.every((mm) => Number.isFinite(mm) && mm > 0), `spacing ${spacing}`);
  assert(affine.every(Number.isFinite), `affine ${affine}`);
  assert(data.every(Number.isFinite), "a voxel is no number");
}

/** NRRD and MetaImage volumes, and pictures. */
export const volumes: Kind = {
  name: "volumes",
  cases: fc.tuple(
    fc.constantFrom(...seeds),
    some(fc.oneof({ weight: 2, arbitrary: byteEdit }, { weight: 3, arbitrary: numberEdit })),
  ).map(([[name, bytes], edits]) => ({
    edits: [name, ...labels(edits)],
    files: { [name]: applyAll(bytes, edits) },
  })),
  read: async (folder, { files }) =>
    checkVolume(await readImage(join(folder, Object.keys(files)[0]))),
};
