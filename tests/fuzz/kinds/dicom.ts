import fc from "fast-check";
import { join } from "node:path";
import { openScans } from "../../../lib/data/scans.ts";
import type { Kind } from "../kind.ts";
import { byteEdit, type Edit, HOSTILE_INTEGERS, labels, some } from "../mutations.ts";
import { checkVolume } from "./volumes.ts";

const fixtures = join(import.meta.dirname!, "..", "..", "formats", "fixtures", "formats");

/** Sound series: one, two in one folder, and a file of several frames. */
const seeds = ["dicom_one", "dicom_two", "dicom_frames"].map((folder) => {
  const names = [...Deno.readDirSync(join(fixtures, folder))].map(({ name }) => name).sort();
  return {
    folder,
    files: names.map((name): [string, Uint8Array] => [
      name,
      Deno.readFileSync(join(fixtures, folder, name)),
    ]),
  };
});

/** Bytes of the preamble and its magic word. */
const PREAMBLE = 132;

/** Values whose length has four bytes, after two that are reserved. */
const LONG = new Set(["OB", "OW", "OF", "SQ", "UN", "UT"]);

/** An element of a DICOM file with explicit value representations, little-endian. */
interface Element {
  /** Place of its length, and the bytes that it has. */
  readonly length: { readonly at: number; readonly bytes: 2 | 4 };
  /** Its value. */
  readonly start: number;
  readonly end: number;
}

/** Elements of a file at its top, as far as they can be followed. */
function elementsOf(bytes: Uint8Array): Element[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const elements: Element[] = [];
  for (let at = PREAMBLE; at + 12 <= bytes.length;) {
    const isLong = LONG.has(String.fromCharCode(bytes[at + 4], bytes[at + 5]));
    const length = isLong ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
    const start = at + (isLong ? 12 : 8);
    const end = start + length;
    if (end > bytes.length) break;
    elements.push({
      length: isLong ? { at: at + 8, bytes: 4 } : { at: at + 6, bytes: 2 },
      start,
      end,
    });
    at = end;
  }
  return elements;
}

/** Texts that stand in the place of an element's own. */
const TEXTS = ["0", "-1", "1e308", "nan", "1\\0\\0\\0\\0\\0", "\\", "999999999", "\x1b[31m\n", ""];

/** Another length of an element. */
const lengthEdit: fc.Arbitrary<Edit> = fc.tuple(
  fc.nat({ max: 80 }),
  fc.constantFrom(...HOSTILE_INTEGERS),
).map(([place, value]) => ({
  label: `length of element ${place} becomes ${value}`,
  apply: (bytes) => {
    const element = elementsOf(bytes).at(place);
    if (!element) return bytes;
    const changed = bytes.slice();
    const view = new DataView(changed.buffer);
    if (element.length.bytes === 4) view.setUint32(element.length.at, value, true);
    else view.setUint16(element.length.at, value, true);
    return changed;
  },
}));

/** Another value of an element, of the same length. */
const valueEdit: fc.Arbitrary<Edit> = fc.tuple(fc.nat({ max: 80 }), fc.constantFrom(...TEXTS))
  .map(([place, text]) => ({
    label: `element ${place} becomes ${JSON.stringify(text)}`,
    apply: (bytes) => {
      const element = elementsOf(bytes).at(place);
      if (!element) return bytes;
      const changed = bytes.slice();
      const value = new TextEncoder().encode(text).subarray(0, element.end - element.start);
      changed.fill(0x20, element.start, element.end).set(value, element.start);
      return changed;
    },
  }));

/** A file of the series, and what becomes of it. */
const fileEdits = fc.tuple(
  fc.nat(),
  some(fc.oneof(byteEdit, lengthEdit, { weight: 2, arbitrary: valueEdit })),
);

/** Folders of DICOM files, of which one is changed. */
export const dicom: Kind = {
  name: "dicom",
  cases: fc.tuple(fc.constantFrom(...seeds), fileEdits).map(([{ folder, files }, [n, edits]]) => {
    const own = n % files.length;
    return {
      edits: edits.length === 0 ? [] : [`${folder}/${files[own][0]}`, ...labels(edits)],
      files: Object.fromEntries(
        files.map(([name, bytes], i) => [
          `${folder}/${name}`,
          i === own ? edits.reduce((content, { apply }) => apply(content), bytes) : bytes,
        ]),
      ),
    };
  }),
  read: async (folder) => {
    const { scans } = await openScans([folder]);
    for (const scan of scans) checkVolume(await scan.load());
  },
};
