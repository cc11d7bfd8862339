import { basename, join } from "node:path";
import { excerpt } from "../../errors.ts";
import { type Modality, parseName, type ScanName } from "./names.ts";
import type { Aside, Contents, Listed, Listing, Source } from "./source.ts";

/** Files side by side in one folder: `<case>-t1c.nii.gz` with `<case>-seg.nii.gz`. */
export const flat: Source = {
  name: "flat",
  pattern: "<case>-t1c.nii.gz with <case>-seg.nii.gz",
  list: (listing, modality) => {
    const contents = listFiles(listing, modality);
    if (contents.scans.length === 0) return Promise.resolve(null);
    const folders = listing.folders.map((name) => ({ name, reason: "holds no scan" }));
    return Promise.resolve({ ...contents, aside: [...contents.aside, ...folders] });
  },
};

/** A file whose name tells what it shows. */
interface Named extends ScanName {
  readonly file: string;
}

/**
 * The scans among the files of a folder, by their names. A file with a segmentation beside it and no kind
 * in its own name (`<case>.png` with `<case>_mask.png`) is an image.
 */
export function listFiles(listing: Listing, modality: Modality): Contents {
  const aside: Aside[] = [];
  const groups = new Map<string, Named[]>();
  for (const file of listing.files) {
    const name = parseName(file);
    if (name === null) {
      aside.push({ name: file, reason: "is of no format that is read" });
      continue;
    }
    const key = name.stem.toLowerCase();
    groups.set(key, [...groups.get(key) ?? [], { ...name, file }]);
  }
  const scans: Listed[] = [];
  for (const named of groups.values()) {
    if (named.every(({ kind }) => kind === null)) {
      aside.push(
        ...named.map(({ file }) => ({ name: file, reason: "does not say what it shows" })),
      );
      continue;
    }
    scans.push(scanOf(named, { listing, modality, aside }));
  }
  return { scans, aside };
}

/** The scan that files of one stem are of. */
function scanOf(
  named: readonly Named[],
  { listing, modality, aside }: { listing: Listing; modality: Modality; aside: Aside[] },
): Listed {
  const id = named[0].stem === "" ? basename(listing.folder) : named[0].stem;
  const best = (kind: Named["kind"]) => {
    const [first, ...others] = named.filter((name) => name.kind === kind)
      .sort((a, b) => a.rank - b.rank);
    aside.push(
      ...others.map(({ file }) => ({
        name: file,
        reason: `is there as ${excerpt(first.file)} too`,
      })),
    );
    return first ? join(listing.folder, first.file) : null;
  };
  const isAlone = named.every(({ kind }) => kind === null || kind === "seg");
  return {
    id,
    image: best(isAlone ? null : modality),
    seg: best("seg"),
    lacks: lacking(id, modality),
  };
}

/** Remedies for a case that lacks a file. */
export function lacking(id: string, modality: Modality): Listed["lacks"] {
  const name = excerpt(id);
  return {
    image: `has no ${modality} image: add ${name}-${modality}.nii.gz or remove the case`,
    seg: `has no segmentation: add ${name}-seg.nii.gz or remove the case`,
  };
}
