/**
 * The 2D slices of a data set's volumes. Each case is read once, its slices chosen, rescaled, cropped
 * and kept in a file of the cache; afterwards any slice is read by itself. One case is in memory at
 * a time, and of the rest only what {@linkcode SliceRef} says.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { cacheDir } from "../fs.ts";
import { filesOf } from "./detached.ts";
import type { Case, Dataset } from "./dataset.ts";
import type { Note } from "./notes.ts";
import { ORIENTATION, orientationOf } from "./orientation.ts";
import { type Axis, cut, type Plane, planeOf, whole, type Window } from "./plane.ts";
import { centreCrop, RESCALE_METHODS, rescaledWindow, type RescaleMethod } from "./preprocess.ts";
import {
  DamagedSliceFile,
  readSlice,
  readSliceIndex,
  SLICE_FILE_VERSION,
  type SliceIndex,
  type SliceLocation,
  type SlicePixels,
  writeSliceFile,
} from "./slice_file.ts";
import {
  binarise,
  LABEL_SCHEME_NAMES,
  labelNote,
  type LabelSchemeName,
  type Target,
  TARGETS,
} from "./target.ts";
import { requireSameGrid, type Volume } from "../formats/volume.ts";

/** Choice and preparation of slices. Every option is part of the cache's key. */
export interface SliceOptions {
  /** The axis to slice along; default 2 (axial in BraTS). */
  axis?: Axis;
  /** Labels that count as tumour; default `auto`, all of them. */
  target?: Target;
  /** Scheme of the labels; default: the data set's, if it is known. */
  labels?: LabelSchemeName | null;
  /**
   * Slices with fewer tumour pixels, counted after cropping, are left out. Default 20: at 1 mm the
   * disc of 5 mm, below which manual borders say little. 0 keeps every slice of a volume.
   */
  minTumourVoxels?: number;
  /**
   * Chooses the slices without a single tumour voxel instead, before and after cropping alike, of which a
   * tenth of the pixels or more differ from the corner: air round a head that was cut out is no slice.
   */
  tumourFree?: boolean;
  /**
   * At most so many slices a case, evenly spread over its slices ranked by tumour area; of tumour-free ones
   * over their places.
   */
  maxPerCase?: number;
  /** Keep the centred square of so many pixels; a side that is shorter stays whole. */
  crop?: number;
  /** Rule by which intensities become 0..255, by the whole slice before any crop; default `percentile`. */
  rescale?: RescaleMethod;
}

/** A slice by its place, with what is known of it without reading it. */
export interface SliceRef {
  /** `<case>:<axis>:<index>`, unique in a data set. */
  readonly id: string;
  /** The case that it is cut from. */
  readonly caseId: string;
  /** Whose slice it is. */
  readonly patient: string;
  /** The axis it is perpendicular to. */
  readonly axis: Axis;
  /** Its voxel index along that axis. */
  readonly index: number;
  /** Columns, after cropping. */
  readonly width: number;
  /** Rows, after cropping. */
  readonly height: number;
  /** Pixel size in mm: between columns, between rows. */
  readonly spacing: readonly [number, number];
  /** From one slice of the volume to the next, in mm. */
  readonly sliceSpacing: number;
  /** Slices of the volume along that axis, chosen or not. */
  readonly depth: number;
  /** Sides of the patient that the volume's axes run to, such as `LPS`; null if it does not say. */
  readonly orientation: string | null;
  /** Tumour pixels, after cropping. */
  readonly tumourVoxels: number;
}

/**
 * A slice in memory. Rows run along the second in-plane voxel axis and columns along the first: for
 * axis 2 that is `volume[..., index].T` in numpy.
 */
export interface Slice extends SlicePixels {
  /** Its place and what is known of it. */
  readonly ref: SliceRef;
}

/** Tumour that cropping lost of a data set. */
export interface CropReport {
  /** Tumour voxels in the slices that have enough of them before cropping. */
  readonly tumourVoxels: number;
  /** Those of them that lie outside the crop. */
  readonly lostVoxels: number;
  /** Slices that had enough tumour before cropping and have not after. */
  readonly lostSlices: number;
}

/** Progress of {@linkcode openSlices}. */
export interface SliceProgress {
  /** Cases finished. */
  done: number;
  /** Cases in all. */
  total: number;
  /** The case just finished. */
  caseId: string;
  /** True if it came from the cache. */
  cached: boolean;
}

/** Options of {@linkcode openSlices}. */
export interface OpenSlicesOptions extends SliceOptions {
  /** Folder of the slice files; default the user's cache. */
  cache?: string;
  /** Called after each case. */
  onProgress?: (progress: SliceProgress) => void;
}

type Settings = Required<Omit<SliceOptions, "maxPerCase" | "crop" | "tumourFree">> & {
  maxPerCase: number | null;
  crop: number | null;
  /** Absent where slices with tumour are chosen. */
  tumourFree?: true;
};

/** Facts of a case that its slice file keeps beside the pixels. */
interface CaseFacts {
  /** Notes on the files. */
  notes: [file: "image" | "seg", text: string][];
  /** {@linkcode SliceRef.orientation} of all its slices. */
  orientation: string | null;
  slices: Omit<SliceRef, "id" | "caseId" | "patient" | "axis" | "orientation">[];
  crop: CropReport;
}

/** The chosen slices of a data set. Made by {@linkcode openSlices}. */
export interface SliceSet {
  /** The data set that the slices are of. */
  readonly dataset: Dataset;
  /** The slices, by case and then by index. */
  readonly refs: readonly SliceRef[];
  /** For each case a hash of its chosen slices: their pixels, masks, sizes and places. */
  readonly fingerprints: ReadonlyMap<string, string>;
  /** Tumour that cropping lost; nothing if no crop was asked for. */
  readonly crop: CropReport;
  /** Notes on the files that the slices are cut from. */
  readonly notes: readonly Note[];
  /** Scheme of the labels; null if it is not known, and every label above 0 counts as tumour. */
  readonly labels: LabelSchemeName | null;
  /**
   * Reads one slice from the cache; if its file was damaged or removed meanwhile, the case is
   * extracted again.
   *
   * @throws {InputError} if the slice is not of this set, or its volume changed since it was opened.
   */
  read(ref: SliceRef): Promise<Slice>;
}

/** A slice's case and its place in the case's slice file. */
interface Place {
  source: Case;
  location: SliceLocation;
  /** Its position among the case's slices. */
  n: number;
  facts: CaseFacts["slices"][number];
}

/**
 * Chooses a data set's slices, extracting those cases that the cache does not have. The cache knows a
 * case by the SHA-256 of its two files (14 ms for 9 MB) and by the options, and does not trust a file that
 * is damaged. Sizes and times would prove nothing: anybody may restore an mtime; a ctime, which nobody
 * may on Linux and macOS, follows a clock that can be set back, and network drives and Windows have none
 * to rely on.
 *
 * @example
 * ```ts
 * const slices = await openSlices(await openDataset("BraTS-MEN/"), { axis: 2, maxPerCase: 8 });
 * const { image, mask } = await slices.read(slices.refs[0]);
 * ```
 * @throws {InputError} if an option is out of range, a volume cannot be read, an image and its mask
 * do not lie on one grid, no slice has enough tumour, or the crop leaves none. Of tumour-free slices there
 * may be none.
 */
export async function openSlices(
  dataset: Dataset,
  options: OpenSlicesOptions = {},
): Promise<SliceSet> {
  const settings = check(dataset, options);
  const cache = options.cache ?? cacheDir("slices");
  const refs: SliceRef[] = [];
  const places = new Map<string, Place>();
  const fingerprints = new Map<string, string>();
  const crop = { tumourVoxels: 0, lostVoxels: 0, lostSlices: 0 };
  const notes: Note[] = [];
  for (const [i, source] of dataset.cases.entries()) {
    const path = await caseFile(source, settings, cache);
    const kept = await readCase(path).catch((error) => {
      if (error instanceof DamagedSliceFile) return undefined;
      throw error;
    });
    if (!kept) await extract(source, { settings, cache, path });
    const { extra, locations } = kept ?? await readCase(path).catch(refuseCache);
    extra.slices.forEach((facts, n) => {
      const id = `${source.id}:${settings.axis}:${facts.index}`;
      const { patient } = source;
      const { orientation } = extra;
      refs.push({ id, caseId: source.id, patient, axis: settings.axis, orientation, ...facts });
      places.set(id, { source, location: locations[n], n, facts });
    });
    notes.push(...extra.notes.map(([file, text]) => ({ path: source[file], text })));
    const { slices, crop: own } = extra;
    const content = JSON.stringify([
      { slices, crop: own },
      locations.map(({ checksum }) => checksum),
    ]);
    fingerprints.set(source.id, createHash("sha256").update(content).digest("hex").slice(0, 16));
    crop.tumourVoxels += own.tumourVoxels;
    crop.lostVoxels += own.lostVoxels;
    crop.lostSlices += own.lostSlices;
    options.onProgress?.({
      done: i + 1,
      total: dataset.cases.length,
      caseId: source.id,
      cached: kept !== undefined,
    });
  }
  if (refs.length === 0 && !settings.tumourFree) refuseEmpty(dataset, settings, crop);
  const read = async (ref: SliceRef): Promise<Slice> => {
    const place = places.get(ref.id);
    if (!place) throw new InputError(`slice ${ref.id} is not among the chosen slices`);
    return { ref, ...await readOrRepair(place, { settings, cache }) };
  };
  return { dataset, refs, fingerprints, crop, notes, labels: settings.labels, read };
}

async function readOrRepair(
  { source, location, n, facts }: Place,
  { settings, cache }: { settings: Settings; cache: string },
): Promise<SlicePixels> {
  try {
    return await readSlice(location);
  } catch (error) {
    if (!(error instanceof DamagedSliceFile)) throw error;
  }
  await extract(source, { settings, cache, path: location.path });
  const { extra, locations } = await readCase(location.path).catch(refuseCache);
  if (JSON.stringify(extra.slices[n]) !== JSON.stringify(facts)) {
    throw new InputError(
      `the cached slices in ${location.path} were not those of case ${source.id}: they were made ` +
        `again, so start again`,
    );
  }
  return await readSlice(locations[n]).catch(refuseCache);
}

/** Refuses a cache that cannot be read right after it was written. */
function refuseCache(error: unknown): never {
  if (!(error instanceof DamagedSliceFile)) throw error;
  throw new InputError(`${error.message}: choose another folder for the cache by SAMLORA_CACHE`);
}

/**
 * Reads the index of a case's slice file.
 *
 * @throws {DamagedSliceFile} if the file is damaged, or its facts are not those of its slices.
 */
async function readCase(path: string): Promise<SliceIndex<CaseFacts>> {
  const index = await readSliceIndex<CaseFacts>(path);
  const { slices, crop, notes, orientation } = index.extra ?? {};
  const natural = (value: unknown) => Number.isSafeInteger(value) && value as number >= 0;
  const sound = Array.isArray(slices) && slices.length === index.locations.length &&
    slices.every((facts, n) =>
      natural(facts?.index) && natural(facts.width) && natural(facts.height) &&
      facts.width * facts.height === index.locations[n].pixels &&
      Array.isArray(facts.spacing) && facts.spacing.length === 2 &&
      facts.spacing.every((mm) => Number.isFinite(mm) && mm > 0) &&
      natural(facts.depth) && facts.index < facts.depth && natural(facts.tumourVoxels) &&
      facts.tumourVoxels <= index.locations[n].pixels
    ) &&
    Array.isArray(notes) &&
    notes.every((note) =>
      Array.isArray(note) && (note[0] === "image" || note[0] === "seg") &&
      typeof note[1] === "string"
    ) &&
    (orientation === null || ORIENTATION.test(orientation)) &&
    natural(crop?.tumourVoxels) && natural(crop.lostVoxels) && natural(crop.lostSlices);
  if (!sound) throw new DamagedSliceFile(`${path} cannot be used: its index is damaged`);
  return index;
}

function check(dataset: Dataset, options: SliceOptions): Settings {
  const { axis = 2, target = "auto", minTumourVoxels = 20, rescale = "percentile" } = options;
  const labels = options.labels ?? dataset.labels;
  if (![0, 1, 2].includes(axis)) {
    throw new InputError(`there is no axis ${axis} to slice along: choose 0, 1 or 2`);
  }
  if (!TARGETS.includes(target)) {
    throw new InputError(`unknown target "${target}": choose ${TARGETS.join(", ")}`);
  }
  if (labels !== null && !LABEL_SCHEME_NAMES.includes(labels)) {
    throw new InputError(
      `unknown scheme of labels "${labels}": choose ${LABEL_SCHEME_NAMES.join(", ")}`,
    );
  }
  if (!RESCALE_METHODS.includes(rescale)) {
    throw new InputError(`unknown rescaling "${rescale}": choose ${RESCALE_METHODS.join(", ")}`);
  }
  if (!(Number.isInteger(minTumourVoxels) && minTumourVoxels >= 0)) {
    throw new InputError(
      `minTumourVoxels cannot be ${minTumourVoxels}: give a whole number from 0`,
    );
  }
  const counts = { maxPerCase: options.maxPerCase, crop: options.crop };
  for (const [name, value] of Object.entries(counts)) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new InputError(`${name} cannot be ${value}: give a whole number from 1`);
    }
  }
  const { maxPerCase = null, crop = null, tumourFree } = options;
  const settings = { axis, target, labels, minTumourVoxels, maxPerCase, crop, rescale };
  return tumourFree ? { ...settings, minTumourVoxels: 0, tumourFree } : settings;
}

function refuseEmpty(dataset: Dataset, settings: Settings, crop: CropReport): never {
  if (crop.lostSlices > 0) {
    throw new InputError(
      `the centre crop of ${settings.crop} pixels leaves no slice of ${dataset.root} with ` +
        `${settings.minTumourVoxels} tumour voxels or more: choose a larger crop`,
    );
  }
  throw new InputError(
    `no slice of ${dataset.root} has ${settings.minTumourVoxels} tumour voxels or more (target ` +
      `${settings.target}): check the segmentations, or ask for fewer voxels or another target`,
  );
}

/** The path that holds this case's slices under these settings, if they were extracted. */
async function caseFile(source: Case, settings: Settings, cache: string): Promise<string> {
  const files: string[] = [];
  for (const path of [source.image, source.seg].flatMap(filesOf)) {
    try {
      // Whole: in parts of a stream it takes thrice the time.
      files.push(createHash("sha256").update(await Deno.readFile(path)).digest("hex"));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new InputError(`cannot read ${path} (${reason}): check the data folder`);
    }
  }
  const content = source.channel === null ? files : [...files, source.channel];
  const key = JSON.stringify([SLICE_FILE_VERSION, EXTRACTION_VERSION, settings, content]);
  const hash = createHash("sha256").update(key).digest("hex");
  return join(cache, hash.slice(0, 2), `${source.id}.${hash.slice(2, 26)}.slices`);
}

/** Counts up whenever the same volume and settings would give other slices, or be refused. */
const EXTRACTION_VERSION = 6;

/**
 * Writes a case's slices.
 *
 * @throws {InputError} if its files are no longer those that `path` was named after.
 */
async function extract(
  source: Case,
  { settings, cache, path }: { settings: Settings; cache: string; path: string },
): Promise<void> {
  const { axis } = settings;
  const { image, seg } = await source.load();
  if (await caseFile(source, settings, cache) !== path) {
    throw new InputError(
      `the files of case ${source.id} changed while they were in use: start again`,
    );
  }
  requireSameGrid({ volume: image, name: source.image }, { volume: seg, name: source.seg });
  const { target, labels: scheme } = settings;
  const mask = binarise(seg, { target, scheme, name: source.seg });
  const plane = planeOf(image, axis);
  const window = settings.crop === null ? whole(plane) : centreCrop(plane, settings.crop);

  const { chosen, crop } = chooseSlices({ image, mask }, { plane, window, settings });

  const slices = chosen.map(({ index }) => ({
    image: rescaledWindow(image.data, {
      plane,
      window: { ...window, index },
      method: settings.rescale,
    }),
    mask: cut(mask, plane, { ...window, index }),
  }));
  const extra: CaseFacts = {
    notes: notesOf({ image, seg }, scheme),
    orientation: orientationOf(image),
    slices: chosen.map(({ index, area }) => ({
      index,
      width: window.width,
      height: window.height,
      spacing: plane.spacing,
      sliceSpacing: image.spacing[axis],
      depth: image.shape[axis],
      tumourVoxels: area,
    })),
    crop,
  };
  await writeSliceFile(path, { slices, extra });
}

/** Notes on the files of a case. */
function notesOf(
  { image, seg }: { image: Volume; seg: Volume },
  scheme: LabelSchemeName | null,
): CaseFacts["notes"] {
  const label = scheme === null ? labelNote(seg) : null;
  return [
    ...image.notes.map((text) => ["image", text] as ["image", string]),
    ...[...seg.notes, ...label ? [label] : []].map((text) => ["seg", text] as ["seg", string]),
  ];
}

/** The slices of a case that the settings ask for, with their tumour's area, and what the crop loses. */
function chooseSlices(
  { image, mask }: { image: Volume; mask: Uint8Array },
  { plane, window, settings }: {
    plane: Plane;
    window: Omit<Window, "index">;
    settings: Settings;
  },
): { chosen: { index: number; area: number }[]; crop: CropReport } {
  const { axis, minTumourVoxels, maxPerCase, tumourFree } = settings;
  const crop = { tumourVoxels: 0, lostVoxels: 0, lostSlices: 0 };
  const chosen: { index: number; area: number }[] = [];
  for (let index = 0; index < image.shape[axis]; index++) {
    const uncropped = count(mask, plane, { ...whole(plane), index });
    if (tumourFree) {
      const isFree = uncropped === 0 && !isBlank(image.data, plane, { ...window, index });
      if (isFree) chosen.push({ index, area: 0 });
      continue;
    }
    if (uncropped < minTumourVoxels) continue;
    const area = count(mask, plane, { ...window, index });
    crop.tumourVoxels += uncropped;
    crop.lostVoxels += uncropped - area;
    if (area >= minTumourVoxels) chosen.push({ index, area });
    else crop.lostSlices++;
  }
  return { chosen: maxPerCase === null ? chosen : spread(chosen, maxPerCase), crop };
}

/** Least share of a tumour-free slice's pixels that differ from its corner. */
const LEAST_IMAGE = 0.1;

/** True if hardly a pixel of a slice differs from its corner. */
function isBlank(voxels: Float32Array, plane: Plane, window: Window): boolean {
  const pixels = cut(voxels, plane, window);
  const differing = pixels.reduce((sum, value) => sum + Number(value !== pixels[0]), 0);
  return differing < LEAST_IMAGE * pixels.length;
}

function count(mask: Uint8Array, plane: Plane, window: Window): number {
  const { x, y, width, height, index } = window;
  let sum = 0;
  for (let row = 0; row < height; row++) {
    let at = index * plane.sliceStride + (y + row) * plane.rowStride + x * plane.columnStride;
    for (let column = 0; column < width; column++, at += plane.columnStride) sum += mask[at];
  }
  return sum;
}

/** `limit` slices at even ranks by area, the largest among them, back in the order of the volume. */
function spread(
  slices: { index: number; area: number }[],
  limit: number,
): { index: number; area: number }[] {
  if (slices.length <= limit) return slices;
  const ranked = slices.toSorted((a, b) => b.area - a.area || a.index - b.index);
  const step = limit > 1 ? (ranked.length - 1) / (limit - 1) : 0;
  return Array.from({ length: limit }, (_, i) => ranked[Math.round(i * step)])
    .sort((a, b) => a.index - b.index);
}
