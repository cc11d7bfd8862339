import { join } from "node:path";
import { excerpt } from "../../errors.ts";
import { endingOf } from "../../formats/volume_file.ts";
import { listOrNull } from "./brats.ts";
import { lacking } from "./flat.ts";
import { type Modality, MODALITY_NAMES } from "./names.ts";
import { type Aside, list, type Listed, type Listing, type Source } from "./source.ts";

/** Levels of folders above those of the files: the case's, and `HGG` and `LGG` with what holds them. */
const DEPTH = 3;

/** The folder of a file: `VSD.Brain.XX.O.MR_T1c.54514`, or `….OT.54517` of the segmentation. */
const FOLDER = /^VSD\..*\.(?:MR_(\w+)|OT)\.\d+$/i;

/** BraTS 2013 to 2016 as its server gave it: a folder a case, and in that a folder a file. */
export const vsd: Source = {
  name: "BraTS to 2016",
  pattern: "<case>/VSD.Brain.XX.O.MR_T1c.<n>/*.mha with <case>/VSD.Brain.XX.XX.OT.<n>/*.mha",
  list: async (listing, modality) => {
    const aside: Aside[] = listing.files.map((name) => ({ name, reason: "is not of the layout" }));
    const scans = await casesIn(listing, { modality, depth: DEPTH, aside });
    return scans.length === 0 ? null : { scans, aside };
  },
};

async function casesIn(
  listing: Listing,
  { modality, depth, aside }: { modality: Modality; depth: number; aside: Aside[] },
): Promise<Listed[]> {
  const scans: Listed[] = [];
  for (const name of listing.folders) {
    const inner = await listOrNull(join(listing.folder, name), join(listing.shown, excerpt(name)));
    const found = inner === null
      ? []
      : inner.folders.some((folder) => FOLDER.test(folder))
      ? [await caseOf(inner, { id: name, modality })]
      : depth > 1
      ? await casesIn(inner, { modality, depth: depth - 1, aside: [] })
      : [];
    if (found.length === 0) aside.push({ name, reason: "holds no scan" });
    scans.push(...found);
  }
  return scans;
}

/** The case of a folder of folders. */
async function caseOf(
  listing: Listing,
  { id, modality }: { id: string; modality: Modality },
): Promise<Listed> {
  const fileOf = async (isWanted: (sequence: string | undefined) => boolean) => {
    for (const folder of listing.folders) {
      const match = FOLDER.exec(folder);
      if (!match || !isWanted(match[1]?.toLowerCase())) continue;
      const { folder: path, files } = await list(join(listing.folder, folder), listing.shown);
      const file = files.find((file) => endingOf(file) !== null);
      if (file !== undefined) return join(path, file);
    }
    return null;
  };
  return {
    id,
    image: await fileOf((name) => name !== undefined && MODALITY_NAMES[modality].includes(name)),
    seg: await fileOf((name) => name === undefined),
    lacks: lacking(id, modality),
  };
}
