import { basename, dirname, join, resolve } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import { noteConstant, type Volume } from "../formats/volume.ts";
import { endingOf, VOLUME_ENDINGS } from "../formats/volume_file.ts";
import { asideLine, listFolder, parseModality } from "./dataset.ts";
import { isDicom, openSeries } from "./dicom.ts";
import { patientOf } from "./patients.ts";
import { readImage } from "./read_volume.ts";
import { caseName, parseName } from "./sources/names.ts";
import { list, requirePlainName } from "./sources/source.ts";

/** The table that a prediction leaves beside its masks and pictures, by which their folder is known. */
export const PREDICTIONS_TABLE = "predictions.csv";

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
 * of `sources`, one case of it, or hold volumes by any names and DICOM series, in folders or not. Scans
 * of one name are told apart by the folders that they lie in.
 *
 * @param paths Files of a volume each, and folders.
 * @throws {InputError} if a path cannot be read or holds no scan, or two scans have one name in one folder.
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
  return { scans: toldApart(scans, notes), notes };
}

/** The scans with a name each: those that share one have the folders that they lie in before it. */
function toldApart(scans: readonly Scan[], notes: string[]): Scan[] {
  const named: Scan[] = [];
  for (const [id, twins] of Map.groupBy(scans, (scan) => scan.id)) {
    const names = twins.length === 1 ? [id] : namesByFolders(twins);
    if (twins.length > 1) {
      notes.push(`${twins.length} scans by the name ${id} are called ${fewOf(names)}.`);
    }
    named.push(...twins.map((scan, i) => {
      const isByName = scan.patient === patientOf(id); // and not by a header
      return { ...scan, id: names[i], patient: isByName ? patientOf(names[i]) : scan.patient };
    }));
  }
  const known = new Map<string, Scan>();
  for (const scan of named) {
    const other = known.get(scan.id);
    if (other) refuseTwins(other, scan);
    known.set(scan.id, scan);
  }
  const order = new Map(scans.map(({ load }, i) => [load, i]));
  return named.sort((a, b) => order.get(a.load)! - order.get(b.load)!);
}

/** Names of scans that share one, with as few of their folders before it as tell all apart. */
function namesByFolders(twins: readonly Scan[]): string[] {
  const folders = twins.map(({ path }) => dirname(resolve(path)).split(/[/\\]/));
  const depth = Math.max(...folders.map(({ length }) => length));
  for (let count = 1; count <= depth; count++) {
    const names = twins.map(({ id }, i) => [...folders[i].slice(-count), id].join("_"));
    if (new Set(names).size === twins.length) return names;
  }
  const [first, second] = [...Map.groupBy(twins, ({ path }) => dirname(resolve(path))).values()]
    .find(({ length }) => length > 1)!;
  return refuseTwins(first, second);
}

function refuseTwins(one: Scan, other: Scan): never {
  throw new InputError(
    resolve(other.path) === resolve(one.path)
      ? `${one.path} is given twice: name it once`
      : `${one.path} and ${other.path} are two scans by the name ${one.id}: give them one at a time`,
  );
}

/** The first names of a list. */
function fewOf(names: readonly string[]): string {
  return names.slice(0, 3).map(excerpt).join(", ") + (names.length > 3 ? ", …" : "");
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
  const id = caseName(path) || basename(dirname(resolve(path)));
  return scan({ id, image: path, seg: null });
}

function scan({ id, image, seg }: { id: string; image: string; seg: string | null }): Scan {
  return { id, patient: patientOf(id), path: image, seg, load: () => readImage(image) };
}

/**
 * The scans of a folder that have the modality. Where it is of no layout, or no name in it says what is
 * shown, they are its volumes by any names, and DICOM series.
 */
async function scansIn(
  folder: string,
  { modality, notes }: { modality: string; notes: string[] },
): Promise<Scan[]> {
  const wanted = parseModality(modality);
  const contents = await listFolder(folder, wanted).catch((error) => {
    if (!(error instanceof InputError)) throw error;
    return error;
  });
  const listed = contents instanceof InputError ? [] : contents.scans;
  const found = listed.flatMap(({ id, image, seg }) => image ? [scan({ id, image, seg })] : []);
  if (found.length === 0) {
    const others = await othersIn(folder, { depth: DEPTH, notes });
    if (others.length > 0) return others;
  }
  if (contents instanceof InputError) throw contents;
  if (found.length === 0) {
    throw new InputError(`${folder} holds no ${wanted} image: choose another --modality`);
  }
  const aside = asideLine(folder, contents.aside);
  if (aside !== null) notes.push(aside);
  for (const { id, image, lacks } of listed) {
    if (image === null) notes.push(`Left out: case ${id} in ${folder} ${lacks.image}.`);
  }
  return found;
}

/** Levels of folders that scans may lie in, as those of a disc, a patient, a study and a series. */
const DEPTH = 6;

/**
 * The volumes of a folder whose names do not say what they show, and its DICOM series; then those of the
 * folders in it, but for what a prediction wrote.
 */
async function othersIn(
  folder: string,
  { depth, notes }: { depth: number; notes: string[] },
): Promise<Scan[]> {
  const listing = await list(resolve(folder), folder);
  if (depth < DEPTH && listing.files.includes(PREDICTIONS_TABLE)) return [];
  const scans = listing.files.filter((file) => parseName(file)?.kind === null).map((file) => {
    requirePlainName(file, folder);
    return scanOfFile(join(listing.folder, file));
  });
  const unknown = listing.files.filter((file) => endingOf(file) === null);
  const files = unknown.map((file) => join(listing.folder, file)).filter(isDicom);
  if (files.length > 0) {
    scans.push(...await seriesOf(files, { name: basename(listing.folder), path: folder, notes }));
    const aside = unknown.filter((file) => !files.includes(join(listing.folder, file)))
      .map((name) => ({ name, reason: "is no DICOM image" }));
    const line = asideLine(folder, aside);
    if (line !== null) notes.push(line);
  }
  if (depth === 1) {
    const deep = listing.folders.map((name) => ({ name, reason: "lies too deep to be read" }));
    const line = asideLine(folder, deep);
    if (line !== null) notes.push(line);
    return scans;
  }
  for (const name of listing.folders) {
    scans.push(...await othersIn(join(folder, name), { depth: depth - 1, notes }));
  }
  return scans;
}

/** The series of DICOM files of a folder, each a scan; one that cannot be read where none of them can. */
async function seriesOf(
  files: readonly string[],
  { name, path, notes }: { name: string; path: string; notes: string[] },
): Promise<Scan[]> {
  requirePlainName(name, path);
  const opened = await openSeries(files, path).catch((error) => {
    if (!(error instanceof InputError)) throw error;
    return error;
  });
  if (opened instanceof InputError) { // said of this scan alone, so that those beside it are read
    const load = () => Promise.reject(opened);
    return [{ id: name, patient: patientOf(name), path, seg: null, load }];
  }
  const { series: found, reasons } = opened;
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
