/**
 * Survey of a data set: what it holds, what is odd about it, and what a study would leave out.
 *
 * @module
 */
import { basename, resolve } from "node:path";
import { InputError } from "../errors.ts";
import { requireSameGrid, type Volume } from "../formats/volume.ts";
import { listFolder, parseModality } from "./dataset.ts";
import { type Note, noteLines } from "./notes.ts";
import { countText, type Grouping, groupPatients, patientOf } from "./patients.ts";
import { type Axis, cut, planeOf, whole } from "./plane.ts";
import { readImage, readSegmentation } from "./read_volume.ts";
import { openScans } from "./scans.ts";
import { binarise, labelNote, type LabelSchemeName, requireScheme, type Target } from "./target.ts";

/** One case of a survey. */
export interface InspectedCase {
  /** Name of the case. */
  readonly id: string;
  /** Its patient. */
  readonly patient: string;
  /** Path of the image. */
  readonly image: string;
  /** Path of the segmentation; null if there is none. */
  readonly seg: string | null;
  /** Voxels along x, y and z. */
  readonly shape: readonly number[];
  /** Voxel size along x, y and z in mm. */
  readonly spacing: readonly number[];
  /** Voxels of each label above 0; null without a segmentation. */
  readonly labels: Readonly<Record<string, number>> | null;
  /** Slices along the axis by their tumour; null without a segmentation. */
  readonly slices: SliceCounts | null;
}

/** Slices by their tumour. */
export interface SliceCounts {
  /** Slices with enough tumour for a study. */
  readonly tumour: number;
  /** Slices with some, but too little. */
  readonly little: number;
  /** Slices without any. */
  readonly empty: number;
}

/** A case, file or folder that a study would leave out or refuse. */
export interface LeftOut {
  /** Its name. */
  readonly name: string;
  /** Reason, as the end of a sentence. */
  readonly reason: string;
}

/** All that a survey found. */
export interface Inspection {
  /** Name of the data set. */
  readonly name: string;
  /** Its layout; null for scans that follow none. */
  readonly layout: string | null;
  /** Modality of the images. */
  readonly modality: string;
  /** The cases whose image could be read. */
  readonly cases: readonly InspectedCase[];
  /** The patients with their cases. */
  readonly patients: readonly { readonly id: string; readonly cases: readonly string[] }[];
  /** "52 patients in 123 cases (by BraTS names)". */
  readonly grouping: string;
  /** Scheme of the labels; null if it is not known. */
  readonly scheme: LabelSchemeName | null;
  /** Voxels of each label above 0 in all cases. */
  readonly labels: Readonly<Record<string, number>>;
  /** Spacings with the number of cases that have them, the commonest first. */
  readonly spacings: readonly { readonly spacing: readonly number[]; readonly cases: number }[];
  /** Slices of all cases. */
  readonly slices: SliceCounts;
  /** Sentences on what is odd about the files. */
  readonly warnings: readonly string[];
  /** Cases, files and folders that a study would leave out, and why. */
  readonly leftOut: readonly LeftOut[];
}

/** Options of {@linkcode inspectDataset}. */
export interface InspectOptions {
  /** As in `openDataset`. */
  modality: string;
  /** File that says whose each case is; null for their names. */
  patients: string | null;
  /** Labels that count as tumour. */
  target: Target;
  /** Scheme of the labels; null for that which the names tell. */
  labels: LabelSchemeName | null;
  /** Axis that slices are counted along. */
  axis: Axis;
  /** Tumour pixels that a slice needs. */
  minTumourVoxels: number;
  /** Called after each case. */
  onProgress?: (done: number, total: number) => void;
}

/** A case before its voxels are read. */
interface Found {
  readonly id: string;
  readonly image: string;
  readonly seg: string | null;
  /** The patient by a DICOM header; null for that which the name tells. */
  readonly patient: string | null;
  load(): Promise<Volume>;
}

/**
 * Reads every volume of a data set, one case at a time, and goes on where one cannot be used.
 *
 * @throws {InputError} if the folder holds no scans, or options cannot be used.
 */
export async function inspectDataset(root: string, options: InspectOptions): Promise<Inspection> {
  const leftOut: LeftOut[] = [];
  const warnings: string[] = [];
  const { layout, found, labels } = await findCases(root, options.modality, { leftOut, warnings });
  const ids = found.map(({ id }) => id);
  const { patients, summary } = groupFound(found, options.patients);
  const scheme = options.labels ?? labels;
  requireScheme({ target: options.target, scheme, name: root });
  const notes: Note[] = [];
  const cases: InspectedCase[] = [];
  for (const [i, scan] of found.entries()) {
    try {
      const facts = await inspectCase(scan, { ...options, labels: scheme, notes });
      cases.push({ ...facts, patient: patients.get(scan.id)! });
      if (scan.seg === null) leftOut.push({ name: scan.id, reason: "has no segmentation" });
      else if (facts.slices!.tumour === 0) {
        const reason = `has no slice with ${options.minTumourVoxels} tumour pixels or more`;
        leftOut.push({ name: scan.id, reason });
      }
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      leftOut.push({ name: scan.id, reason: `cannot be used: ${error.message}` });
    }
    options.onProgress?.(i + 1, found.length);
  }
  return {
    name: basename(resolve(root)),
    layout,
    modality: parseModality(options.modality),
    cases,
    patients: [...Map.groupBy(ids, (id) => patients.get(id)!)]
      .map(([id, own]) => ({ id, cases: own })).sort((a, b) => a.id < b.id ? -1 : 1),
    grouping: summary,
    scheme,
    ...totals(cases),
    warnings: [...warnings, ...noteLines(notes)],
    leftOut,
  };
}

/** The cases of a folder that have an image; the others, and what is no case, are left out. */
async function findCases(
  root: string,
  modality: string,
  { leftOut, warnings }: { leftOut: LeftOut[]; warnings: string[] },
): Promise<{ layout: string | null; found: Found[]; labels: LabelSchemeName | null }> {
  const listed = await listFolder(root, parseModality(modality)).catch((error) => {
    if (!(error instanceof InputError)) throw error;
    return error;
  });
  const ofLayout = listed instanceof InputError ? [] : listed.scans;
  const cases = ofLayout.flatMap(({ id, image, channel, seg }): Found[] =>
    image === null ? [] : [{ id, image, seg, patient: null, load: () => readImage(image, channel) }]
  );
  const others = cases.length > 0 ? null : await openScans([root], { modality }).catch((error) => {
    if (listed instanceof InputError) throw error;
    return null;
  });
  if (others === null && !(listed instanceof InputError)) {
    leftOut.push(...listed.aside);
    for (const { id, image, lacks } of ofLayout) {
      if (image === null) leftOut.push({ name: id, reason: lacks.image });
    }
    return { layout: listed.layout, found: cases, labels: listed.labels };
  }
  warnings.push(...others!.notes);
  const found = others!.scans.map(({ id, patient, path, load }): Found => ({
    id,
    image: path,
    seg: null,
    patient: patient === patientOf(id) ? null : patient,
    load,
  }));
  return { layout: null, found, labels: null };
}

/** Patients of the cases: by a file, by DICOM headers where there are some, else by names. */
function groupFound(found: readonly Found[], file: string | null): Grouping {
  const byName = groupPatients(found.map(({ id }) => id), file);
  if (file !== null || found.every(({ patient }) => patient === null)) return byName;
  const patients = new Map(found.map(({ id, patient }) => [id, patient ?? patientOf(id)]));
  return { patients, summary: `${countText(patients)} (by DICOM headers)` };
}

/** Size, labels and slices of a case. */
async function inspectCase(
  { id, image, seg, load }: Found,
  options: InspectOptions & { notes: Note[] },
): Promise<Omit<InspectedCase, "patient">> {
  const volume = await load();
  const { notes, axis, target, labels: scheme, minTumourVoxels } = options;
  notes.push(...volume.notes.map((text) => ({ path: image, text })));
  const { shape, spacing } = volume;
  const facts = { id, image, seg, shape, spacing };
  if (seg === null) return { ...facts, labels: null, slices: null };
  const truth = await readSegmentation(seg);
  const word = scheme === null ? labelNote(truth) : null;
  notes.push(...[...truth.notes, ...word ? [word] : []].map((text) => ({ path: seg, text })));
  requireSameGrid({ volume, name: image }, { volume: truth, name: seg });
  const mask = binarise(truth, { target, scheme, name: seg });
  const plane = planeOf(truth, axis);
  const counts = { tumour: 0, little: 0, empty: 0 };
  for (let index = 0; index < shape[axis]; index++) {
    const area = cut(mask, plane, { ...whole(plane), index }).reduce((sum, on) => sum + on, 0);
    counts[area === 0 ? "empty" : area < minTumourVoxels ? "little" : "tumour"]++;
  }
  return { ...facts, labels: labelsOf(truth), slices: counts };
}

/** Voxels of each label above 0. */
function labelsOf({ data }: Volume): Record<string, number> {
  const labels: Record<string, number> = {};
  for (let i = 0; i < data.length; i++) {
    const label = Math.round(data[i]);
    if (label > 0) labels[label] = (labels[label] ?? 0) + 1;
  }
  return labels;
}

/** Sums over all cases. */
function totals(
  cases: readonly InspectedCase[],
): Pick<Inspection, "labels" | "spacings" | "slices"> {
  const labels: Record<string, number> = {};
  const slices = { tumour: 0, little: 0, empty: 0 };
  for (const one of cases) {
    for (const [label, count] of Object.entries(one.labels ?? {})) {
      labels[label] = (labels[label] ?? 0) + count;
    }
    for (const kind of ["tumour", "little", "empty"] as const) {
      slices[kind] += one.slices?.[kind] ?? 0;
    }
  }
  const rounded = (one: InspectedCase) => one.spacing.map((mm) => Number(mm.toPrecision(4)));
  const spacings = [...Map.groupBy(cases, (one) => rounded(one).join())]
    .map(([, same]) => ({ spacing: rounded(same[0]), cases: same.length }))
    .sort((a, b) => b.cases - a.cases);
  return { labels, spacings, slices };
}
