import { basename, dirname, join, resolve } from "node:path";
import { InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";
import { asideLine, listFolder, parseModality } from "./dataset.ts";
import { isDicom, listSeries } from "./dicom.ts";
import { patientOf } from "./patients.ts";
import { endingOf, noteConstant, readImage, VOLUME_ENDINGS } from "./read_volume.ts";
import { list, type Listed, parseName, requirePlainName } from "./sources/source.ts";

/** A scan, with or without a segmentation. */
export interface Scan {
  /** Name of the case, unique among those that were opened together. */
  readonly id: string;
  /** Name of the patient; all scans of a patient share it. */
  readonly patient: string;
  /** Path of the image: a file, or the folder of a DICOM series. */
  readonly path: string;
  /** Path of its segmentation, if there is one beside it. */
  readonly seg: string | null;
  /**
   * Reads the image; what is odd about it is in its `notes`.
   *
   * @throws {InputError} naming the file that cannot be read.
   */
  load(): Promise<Volume>;
}

/** Scans of some files and folders. */
export interface Scans {
  /** The scans in the order of the paths, those of a folder sorted by name. */
  readonly scans: readonly Scan[];
  /** Sentences on what was left aside. */
  readonly notes: readonly string[];
}

/**
 * Lists the scans of files and folders; no voxel is read. A folder may be a data set in one of the layouts
 * of `sources`, one case of it, or hold volumes by any names, or DICOM series with folders of them.
 *
 * @param paths Files of a volume each, and folders.
 * @throws {InputError} if a path cannot be read or holds no scan, or two scans have one name.
 */
export async function openScans(
  paths: readonly string[],
  options: { modality?: string } = {},
): Promise<Scans> {
  const scans: Scan[] = [];
  const notes: string[] = [];
  for (const path of paths) {
    const found = await isFolder(path)
      ? await scansIn(path, { modality: options.modality ?? "t1c", notes })
      : endingOf(path) === null && isDicom(path)
      ? await seriesOf([path], { name: basename(path).replace(/\.(dcm|ima)$/i, ""), path, notes })
      : [scanOfFile(path)];
    scans.push(...found);
  }
  const places = new Map<string, string>();
  for (const { id, path } of scans) {
    const other = places.get(id);
    if (other !== undefined) {
      throw new InputError(
        other === path
          ? `${path} is given twice: name it once`
          : `${other} and ${path} are two scans by the name ${id}: give them one at a time`,
      );
    }
    places.set(id, path);
  }
  return { scans, notes };
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${path} (${reason}): check the path`);
  }
}

/** A file as a scan, by the part of its name that tells it from its other modalities. */
function scanOfFile(path: string): Scan {
  const name = basename(path);
  const ending = endingOf(name);
  if (ending === null) {
    throw new InputError(
      `${path} is of no format that is read: give one that ends in ${VOLUME_ENDINGS.join(", ")}`,
    );
  }
  const parsed = parseName(name)!;
  const stem = parsed.kind === null || parsed.kind === "seg"
    ? name.slice(0, name.length - ending.length)
    : parsed.stem || basename(dirname(resolve(path)));
  return scan({ id: stem.replace(/_\d{4}$/, ""), image: path, seg: null });
}

function scan({ id, image, seg }: { id: string; image: string; seg: string | null }): Scan {
  return { id, patient: patientOf(id), path: image, seg, load: () => readImage(image) };
}

/** The scans of a folder that have the modality. */
async function scansIn(
  folder: string,
  { modality, notes }: { modality: string; notes: string[] },
): Promise<Scan[]> {
  const wanted = parseModality(modality);
  const contents = await listFolder(folder, wanted).catch((error) => {
    if (!(error instanceof InputError)) throw error;
    return error;
  });
  if (contents instanceof InputError) {
    const loose = (await listLoose(folder)).map((listed) =>
      scan({ ...listed, image: listed.image! })
    );
    const found = [...loose, ...await dicomIn(folder, { depth: DEPTH, notes })];
    if (found.length === 0) throw contents;
    return found;
  }
  const aside = asideLine(folder, contents.aside);
  if (aside !== null) notes.push(aside);
  const found = contents.scans.flatMap((listed) => {
    const { id, image, seg, lacks } = listed;
    if (image !== null) return [scan({ id, image, seg })];
    notes.push(`Left out: case ${id} in ${folder} ${lacks.image}.`);
    return [];
  });
  if (found.length === 0) {
    throw new InputError(`${folder} holds no ${wanted} image: choose another --modality`);
  }
  return found;
}

/** Levels of folders that may lie round those of DICOM files: patient, study, series. */
const DEPTH = 4;

/** The DICOM series of a folder, and of the folders in it. */
async function dicomIn(
  folder: string,
  { depth, notes }: { depth: number; notes: string[] },
): Promise<Scan[]> {
  const listing = await list(resolve(folder), folder);
  const others = listing.files.filter((file) => endingOf(file) === null);
  const files = others.map((file) => join(listing.folder, file)).filter(isDicom);
  const scans = files.length === 0
    ? []
    : await seriesOf(files, { name: basename(listing.folder), path: folder, notes });
  if (files.length > 0 && files.length < others.length) {
    const aside = others.filter((file) => !files.includes(join(listing.folder, file)))
      .map((name) => ({ name, reason: "is no DICOM image" }));
    notes.push(asideLine(folder, aside)!);
  }
  if (depth === 1) return scans;
  for (const name of listing.folders) {
    scans.push(...await dicomIn(join(folder, name), { depth: depth - 1, notes }));
  }
  return scans;
}

/** The series of DICOM files of a folder, each a scan. */
async function seriesOf(
  files: readonly string[],
  { name, path, notes }: { name: string; path: string; notes: string[] },
): Promise<Scan[]> {
  requirePlainName(name, path);
  const { series: found, reasons } = await listSeries(files, path);
  const scans = found.map((series): Scan => {
    const id = found.length === 1 ? name : `${name}_${series.id}`;
    const load = async () => noteConstant(await series.load());
    return { id, patient: series.patient ?? patientOf(id), path, seg: null, load };
  });
  if (found.length > 1) {
    const names = found.map(({ description }, i) => `${scans[i].id} ("${description}")`);
    notes.push(`${path} holds ${found.length} DICOM series: ${names.join(", ")}.`);
    for (const reason of reasons) notes.push(`${path}: ${reason}`);
  }
  return scans;
}

/** The volumes of a folder whose names follow no layout, each a scan. */
async function listLoose(folder: string): Promise<Listed[]> {
  const listing = await list(resolve(folder), folder);
  return listing.files.flatMap((file) => {
    const ending = endingOf(file);
    if (ending === null) return [];
    const id = file.slice(0, file.length - ending.length);
    requirePlainName(id, folder);
    const lacks = { image: "", seg: "" };
    return [{ id, image: `${listing.folder}/${file}`, seg: null, lacks }];
  });
}
