/**
 * Scans and adapters from files that a page was given: in memory, without folders.
 *
 * @module
 */
import { type Adapter, ADAPTER_FILES, parseAdapter } from "../adapters/adapter.ts";
import { readLegacyAdapter } from "../adapters/legacy.ts";
import { bytesOf, type ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { detachedHeader, mayBeDetached } from "../formats/detached.ts";
import { isDicomFile, listSeries, type StartConverter } from "../formats/dicom.ts";
import { noteConstant, type Volume } from "../formats/volume.ts";
import { bareName, endingOf, parseVolume, requireExact } from "../formats/volume_file.ts";
import { openWeights } from "../formats/weights.ts";
import { LARGEST } from "../nn/host_state.ts";
import type { SeriesChoice } from "./protocol.ts";

/** A file of a page: `File` is one. */
export interface PageFile {
  /** Its name; in a dropped folder with the path in it. */
  readonly name: string;
  /** Its content. */
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** A scan and its name. */
export interface DroppedScan {
  /** Name of its file or folder. */
  readonly name: string;
  /** The image. */
  readonly volume: Volume;
}

async function bytes(file: PageFile): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${excerpt(file.name)} (${reason}): choose it again`);
  }
}

/** A file; of a header and voxels apart, both as one file. */
async function openWhole(file: PageFile, files: readonly PageFile[]): Promise<ByteSource> {
  const source = bareName(file.name);
  const content = await bytes(file);
  if (!mayBeDetached(source)) return bytesOf(content, { source });
  const beside = (wanted: string) => files.find(({ name }) => bareName(name) === wanted);
  const isThere = (name: string) => beside(name) !== undefined;
  const header = detachedHeader(content, { path: source, isThere });
  if (header === null) return bytesOf(content, { source });
  const voxels = beside(header.voxels);
  if (voxels) return bytesOf(header.join(await bytes(voxels)), { source });
  throw new InputError(
    `${source} has its voxels in ${excerpt(header.voxels)}: give both files together`,
  );
}

/** The one volume among some files; null if there is none. */
function onlyVolume<T extends PageFile>(files: readonly T[]): T | null {
  const volumes = files.filter(({ name }) => endingOf(name) !== null);
  if (volumes.length < 2) return volumes[0] ?? null;
  const names = volumes.slice(0, 3).map(({ name }) => excerpt(bareName(name))).join(", ");
  throw new InputError(
    `${volumes.length} volumes were given (${names}${volumes.length > 3 ? ", …" : ""}): open one ` +
      `at a time`,
  );
}

/**
 * Reads a scan: a volume of a known format, or the files of a DICOM series.
 *
 * @param options.series Series to take, of several.
 * @param options.start Starts the converter of DICOM.
 * @returns the scan, or the series of which one has to be chosen.
 * @throws {InputError} if the files hold none.
 */
export async function readScan(
  files: readonly PageFile[],
  { series: chosen, start }: { series?: string; start: StartConverter },
): Promise<DroppedScan | SeriesChoice> {
  const dicom = [];
  for (const file of files) {
    if (endingOf(file.name) !== null) continue; // beside DICOM files a preview
    const source = bytesOf(await bytes(file), { source: bareName(file.name) });
    if (isDicomFile(source)) dicom.push(source);
  }
  if (dicom.length === 0) {
    const file = onlyVolume(files);
    if (file) {
      using source = await openWhole(file, files);
      return { name: source.name, volume: noteConstant(await parseVolume(source)) };
    }
    const [first] = files;
    throw new InputError(
      `${
        first ? excerpt(bareName(first.name)) : "an empty folder"
      } is no scan that is read: give NIfTI, NRRD, MetaImage, a DICOM folder, PNG, TIFF or JPEG; ` +
        `of header and voxels apart, both files`,
    );
  }
  const folder = files[0].name.replaceAll("\\", "/").split("/").at(-2) ?? "DICOM";
  const { series } = await listSeries(dicom.map((source) => () => source), {
    source: excerpt(folder),
    start,
  });
  const found = series.length === 1 ? series[0] : series.find(({ id }) => id === chosen);
  if (!found) return { series: series.map(({ id, description }) => ({ id, description })) };
  const name = series.length === 1 ? folder : `${folder}_${found.id}`;
  return { name, volume: noteConstant(await found.load()) };
}

/**
 * Reads a segmentation.
 *
 * @throws {InputError} if the files hold none, or one whose labels were compressed with loss.
 */
export async function readTruth(files: readonly PageFile[]): Promise<DroppedScan> {
  const file = onlyVolume(files);
  if (!file) {
    throw new InputError("the truth is no volume that is read: give NIfTI, NRRD, MetaImage or PNG");
  }
  const name = bareName(file.name);
  requireExact(name);
  using source = await openWhole(file, files);
  return { name, volume: await parseVolume(source) };
}

/** True if files look like an adapter, and not like a scan. */
export function isAdapter(files: readonly Pick<PageFile, "name">[]): boolean {
  return files.some(({ name }) =>
    /\.(safetensors|pth|pt|bin)$/i.test(name) || bareName(name) === ADAPTER_FILES.config
  );
}

/**
 * Reads an adapter: the two files of a PEFT folder, or a flat file of Sam_LoRA or SAMed.
 *
 * @param name Its name, for messages.
 * @throws {InputError} if the files are none, or damaged.
 */
export async function readAdapter(files: readonly PageFile[], name: string): Promise<Adapter> {
  const named = (wanted: string) => files.find(({ name }) => bareName(name) === wanted);
  const weights = named(ADAPTER_FILES.weights);
  const config = named(ADAPTER_FILES.config);
  if (weights) {
    const text = config && new TextDecoder().decode(await bytes(config));
    return parseAdapter({ weights: await bytes(weights), config: text ?? null }, { source: name });
  }
  const file = files.find(({ name }) => /\.(safetensors|pth|pt|bin)$/i.test(name));
  if (!file) {
    throw new InputError(
      `${name} holds no adapter: give the folder that PEFT saved (${ADAPTER_FILES.weights} with ` +
        `${ADAPTER_FILES.config}), or a file of Sam_LoRA or SAMed`,
    );
  }
  using source = await openWeights(bytesOf(await bytes(file), { source: bareName(file.name) }), {
    limit: LARGEST.adapter,
  });
  return await readLegacyAdapter(source);
}
