import { join } from "node:path";
import { excerpt } from "../../errors.ts";
import { endingOf } from "../../formats/volume_file.ts";
import { type Modality, MODALITY_NAMES, parseName } from "./names.ts";
import { type Aside, list, type Listed, type Listing, type Source } from "./source.ts";

/**
 * BIDS: `sub-*[/ses-*]/anat/*_T1w.nii.gz` (with `ce-` in the name after contrast), segmentations named
 * `*_dseg` or `*_mask` with `label-lesion` or the like, in the same folders or under `derivatives`
 * (bids-specification, "Magnetic Resonance Imaging" and "Imaging derivatives").
 */
export const bids: Source = {
  name: "BIDS",
  pattern:
    "sub-<label>/anat/sub-<label>_ce-gadolinium_T1w.nii.gz with derivatives/**/*_dseg.nii.gz",
  list: async (listing, modality) => {
    if (!listing.folders.some((name) => /^sub-[a-z0-9]+$/i.test(name))) return null;
    const files = (await walk(listing, "")).filter((file) => file.visit !== null);
    const images = files.filter(({ isDerived, path }) => !isDerived && isImage(path, modality));
    const segs = files.filter(({ path }) => isSegmentation(path));
    const visits = new Set([...images, ...segs].map(({ visit }) => visit!));
    if (images.length === 0) return null;
    const scans = [...visits].sort().map((visit): Listed => {
      const own = (of: readonly Found[]) => of.filter((file) => file.visit === visit);
      return scanOf(visit, { images: own(images), segs: own(segs), listing, modality });
    });
    const used = new Set(scans.flatMap(({ image, seg }) => [image, seg]));
    const aside: Aside[] = segs.filter(({ path }) => !used.has(join(listing.folder, path)))
      .map(({ path }) => ({ name: path, reason: "is one of several segmentations" }));
    return { scans, aside };
  },
};

/** A file of the data set. */
interface Found {
  /** Path from the data set's folder. */
  readonly path: string;
  /** Subject and session as names write them: `sub-01_ses-02`; null for a file of no subject. */
  readonly visit: string | null;
  /** True for what lies under `derivatives`. */
  readonly isDerived: boolean;
}

/** Folders between a data set's and its files: of subjects, sessions, kinds and derivatives. */
const FOLDERS = /^(sub-[a-z0-9]+|ses-[a-z0-9]+|anat)$/i;

async function walk(listing: Listing, path: string): Promise<Found[]> {
  const found = listing.files.filter((name) => endingOf(name) !== null).map((name): Found => {
    const [, visit] = /^(sub-[a-z0-9]+(?:_ses-[a-z0-9]+)?)_/i.exec(name) ?? [];
    return {
      path: join(path, name),
      visit: visit ?? null,
      isDerived: /^derivatives\b/.test(path),
    };
  });
  const isPipelines = /^derivatives([\\/][^\\/]+)?$/.test(path);
  for (const name of listing.folders) {
    const isOpen = FOLDERS.test(name) || isPipelines && !/[\\/]/.test(path) ||
      path === "" && name === "derivatives";
    if (!isOpen) continue;
    const inner = await list(join(listing.folder, name), join(listing.shown, excerpt(name)));
    found.push(...await walk(inner, join(path, name)));
  }
  return found;
}

/** The last part of a file's name, and its `key-value` parts. */
function entitiesOf(path: string): { suffix: string; entities: Map<string, string> } {
  const name = path.slice(path.search(/[^\\/]+$/));
  const ending = endingOf(name) ?? "";
  const parts = name.slice(0, name.length - ending.length).toLowerCase().split("_");
  const suffix = parts.pop() ?? "";
  return {
    suffix,
    entities: new Map(parts.map((part) => {
      const at = part.indexOf("-");
      return [part.slice(0, at), part.slice(at + 1)];
    })),
  };
}

function isImage(path: string, modality: Modality): boolean {
  const { suffix, entities } = entitiesOf(path);
  if (suffix === "t1w") return modality === (entities.has("ce") ? "t1c" : "t1n");
  return modality === "t2w" && suffix === "t2w" || MODALITY_NAMES[modality].includes(suffix);
}

/** A segmentation of lesions; a mask of anything else, such as the brain, is none. */
function isSegmentation(path: string): boolean {
  const { suffix, entities } = entitiesOf(path);
  const of = `${entities.get("label") ?? ""} ${entities.get("desc") ?? ""}`;
  const isLesion = /lesion|tumou?r|glioma|mening|metast|roi/.test(of);
  if (suffix === "dseg") return of === " " || isLesion;
  return suffix === "mask" && isLesion || suffix !== "mask" && parseName(path)?.kind === "seg";
}

/** The scan of a visit: the only image and the only segmentation that it has. */
function scanOf(
  visit: string,
  { images, segs, listing, modality }: {
    images: readonly Found[];
    segs: readonly Found[];
    listing: Listing;
    modality: Modality;
  },
): Listed {
  const space = (file: Found | undefined) => file && entitiesOf(file.path).entities.get("space");
  const single = images.length === 1 ? images[0] : undefined;
  const inSpace = segs.filter((seg) => space(seg) === space(single));
  const fitting = inSpace.length > 0 ? inSpace : segs;
  const names = (of: readonly Found[]) => excerpt(of.map(({ path }) => path).join(", "));
  const explain = (what: string, of: readonly Found[], name: string) =>
    of.length > 1
      ? `has several ${what}s (${names(of)}): keep one of them`
      : `has no ${what}: add ${name} or remove the case`;
  const contrast = modality === "t1c" ? "_ce-gadolinium_T1w" : `_${modality}`;
  return {
    id: visit,
    image: single ? join(listing.folder, single.path) : null,
    seg: fitting.length === 1 ? join(listing.folder, fitting[0].path) : null,
    lacks: {
      image: explain(`${modality} image`, images, `anat/${visit}${contrast}.nii.gz`),
      seg: explain("segmentation", fitting, `${visit}_dseg.nii.gz under derivatives`),
    },
  };
}
