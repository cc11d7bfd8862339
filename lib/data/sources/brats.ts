import { join } from "node:path";
import { excerpt, InputError } from "../../errors.ts";
import { lacking, listFiles } from "./flat.ts";
import { type Modality, parseName } from "./names.ts";
import { type Aside, type Contents, list, type Listing, type Source } from "./source.ts";

/** Levels of folders that may lie round those of the cases, as `HGG` and `LGG` do. */
const DEPTH = 3;

/**
 * BraTS' layout, a folder a case: `<case>/<case>-t1c.nii.gz` beside `<case>/<case>-seg.nii.gz`, or with
 * the older names (`<case>_t1ce.nii.gz`), in the folder itself or in folders such as `HGG` and `LGG`.
 * Files of further cases may lie beside those folders.
 */
export const brats: Source = {
  name: "BraTS",
  pattern: "<case>/<case>-t1c.nii.gz with <case>/<case>-seg.nii.gz",
  list: async (listing, modality) => {
    const inFolders = await listFolders(listing, { modality, depth: DEPTH });
    if (inFolders.scans.length === 0) return null;
    const beside = listFiles(listing, modality);
    return {
      scans: [...inFolders.scans, ...beside.scans],
      aside: [...inFolders.aside, ...beside.aside],
    };
  },
};

async function listFolders(
  listing: Listing,
  { modality, depth }: { modality: Modality; depth: number },
): Promise<Contents> {
  const scans: Contents["scans"][number][] = [];
  const aside: Aside[] = [];
  for (const name of listing.folders) {
    const shown = join(listing.shown, excerpt(name));
    const inner = await listOrNull(join(listing.folder, name), shown);
    if (inner === null) {
      aside.push({ name, reason: "may not be read" });
      continue;
    }
    const found = await listCase(inner, { name, modality, depth });
    if (found.scans.length === 0) aside.push({ name, reason: "holds no scan" });
    scans.push(...found.scans);
    aside.push(...found.aside.map((other) => ({ ...other, name: join(name, other.name) })));
  }
  return { scans, aside };
}

/** The scans of a case's folder; of the folders in it where it holds no volume itself. */
async function listCase(
  listing: Listing,
  { name, modality, depth }: { name: string; modality: Modality; depth: number },
): Promise<Contents> {
  const hasVolumes = listing.files.some((file) => parseName(file) !== null);
  if (!hasVolumes) {
    return depth > 1
      ? await listFolders(listing, { modality, depth: depth - 1 })
      : { scans: [], aside: [] };
  }
  const contents = listFiles(listing, modality);
  if (contents.scans.length > 0) return contents;
  // Volumes whose names tell nothing: a case all the same, which lacks what is asked for.
  return {
    ...contents,
    scans: [{ id: name, image: null, seg: null, lacks: lacking(name, modality) }],
  };
}

/** The entries of a folder; null if it may not be read, as the system's own `lost+found`. */
export async function listOrNull(folder: string, shown: string): Promise<Listing | null> {
  try {
    return await list(folder, shown);
  } catch (error) {
    const isClosed = await Array.fromAsync(Deno.readDir(folder)).then(
      () => false,
      (reason) => reason instanceof Deno.errors.PermissionDenied,
    );
    if (isClosed && error instanceof InputError) return null;
    throw error;
  }
}
