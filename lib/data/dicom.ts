/**
 * DICOM series by npm `@niivue/dcm2niix`, which orders slices by position, tells series apart and takes
 * spacing and orientation from the headers. It works on copies in memory: no file is written.
 *
 * @module
 */
import { basename, join } from "node:path";
import process from "node:process";
import { bytesOf } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { parseNifti } from "../formats/nifti.ts";
import type { Volume } from "../formats/volume.ts";
import { openBytes, readBytes } from "../fs.ts";

/** A series of DICOM files that lie in one folder. */
export interface Series {
  /** Its number, with what tells it from others of that number. */
  readonly id: string;
  /** Text that the scanner gave it. */
  readonly description: string;
  /** The patient's id; null if there is none. */
  readonly patient: string | null;
  /**
   * Reads it.
   *
   * @throws {InputError} if it is damaged, no single volume, or its slices are not evenly spaced.
   */
  load(): Promise<Volume>;
}

/** Parts of the program that are used here. */
interface Converter {
  readonly FS: {
    mkdir(path: string): void;
    createDataFile(
      folder: string,
      name: string,
      bytes: Uint8Array,
      canRead: boolean,
      canWrite: boolean,
    ): void;
    readdir(path: string): string[];
    readFile(path: string): Uint8Array<ArrayBuffer>;
  };
  callMain(args: string[]): number;
}

/** Files that a conversion wrote, by name, and the lines that it printed. */
interface Converted {
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly lines: readonly string[];
}

/** True for a DICOM file, by its content; the index of a disc is none. */
export function isDicom(path: string): boolean {
  if (/^dicomdir$/i.test(basename(path))) return false;
  using file = openBytes(path);
  if (file.size < 132) return false;
  const magic = new Uint8Array(4);
  file.read(128, magic);
  return String.fromCharCode(...magic) === "DICM";
}

/**
 * Tells the series of DICOM files apart.
 *
 * @param files Paths of the files, all of one folder.
 * @param source Name of the folder, for messages.
 * @returns the series, and reasons for which slices were not taken for one.
 * @throws {InputError} if they hold no images.
 */
export async function listSeries(
  files: readonly string[],
  source: string,
): Promise<{ series: Series[]; reasons: string[] }> {
  // Descriptions alone would take each other's place where series have one number.
  const listed = await convert(files, ["-b", "y", "-ba", "n"], source);
  const described = [...listed.files].filter(([file]) => file.endsWith(".json"));
  if (described.length === 0) refuse(source, listed.lines);
  let kept: Converted | null = null; // series that were converted, and not yet asked for
  const reasons = listed.lines.filter((line) => line.startsWith("Slices not stacked")).map(excerpt);
  const series = described.map(([file, json]): Series => {
    const id = file.replace(/\.json$/, "");
    const facts = factsOf(json);
    const text = (name: string) => excerpt(String(facts[name] ?? "").trim());
    return {
      id,
      description: text("SeriesDescription") || text("ProtocolName"),
      patient: text("PatientID") || null,
      load: async () => {
        if (!kept?.files.has(`${id}.nii`)) kept = await convert(files, ["-b", "n"], source);
        const volume = await volumeOf(id, kept, source);
        kept.files.delete(`${id}.nii`);
        return volume;
      },
    };
  });
  return { series, reasons };
}

/** Description of a series beside its voxels; empty where it is no JSON. */
function factsOf(json: Uint8Array): Record<string, unknown> {
  try {
    return JSON.parse(new TextDecoder().decode(json));
  } catch {
    return {};
  }
}

/** Runs the converter on copies of files. */
async function convert(
  files: readonly string[],
  options: readonly string[],
  source: string,
): Promise<Converted> {
  // The package exports its worker alone, which stands beside the program.
  const url = new URL("./dcm2niix.jpeg.js", import.meta.resolve("@niivue/dcm2niix"));
  const { default: start } = await import(url.href);
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const converter: Converter = await start({ print, printErr: print });
  converter.FS.mkdir("/in");
  converter.FS.mkdir("/out");
  for (const [i, path] of files.entries()) {
    converter.FS.createDataFile("/in", `${i}.dcm`, readBytes(path), true, false);
  }
  const { exitCode } = process;
  try {
    converter.callMain(["-z", "n", "-f", "%s", ...options, "-o", "/out", "/in"]);
  } catch (error) {
    refuse(source, [`error: ${error instanceof Error ? error.message : error}`]);
  } finally {
    process.exitCode = exitCode; // which it sets to its own
  }
  const names = converter.FS.readdir("/out").filter((name) => !name.startsWith(".")).sort();
  return {
    files: new Map(names.map((name) => [name, converter.FS.readFile(join("/out", name))])),
    lines,
  };
}

function refuse(source: string, lines: readonly string[]): never {
  const reason = lines.find((line) => /^error/i.test(line)) ?? "no image of one series is in them";
  throw new InputError(
    `the DICOM files of ${source} cannot be read (${excerpt(reason)}): export them again`,
  );
}

/** Warnings that tell of the volume, not of the scanner. */
const TELLING =
  /missing images|interslice|equidistant|gantry|tilt|order is not spatial|orientation/i;

/** A converted series. */
async function volumeOf(id: string, { files, lines }: Converted, source: string): Promise<Volume> {
  const content = files.get(`${id}.nii`);
  if (!content) refuse(source, lines);
  const [, fragments] = /stored as (\d+) fragments/.exec(lines.join("\n")) ?? [];
  if (fragments !== undefined) { // of which only the first is read
    throw new InputError(
      `${source} holds a file whose pixels are packed in ${fragments} fragments, which cannot be ` +
        `read: unpack it, for example by gdcmconv --raw`,
    );
  }
  const end = lines.findIndex((line) =>
    /^Convert \d+ DICOM as/.test(line) && line.includes(`/out/${id} (`)
  );
  const start = lines.slice(0, end).findLastIndex((line) => line.startsWith("Convert ")) + 1;
  const warnings = lines.slice(start, end).filter((line) => TELLING.test(line))
    .map((line) => excerpt(line.replace(/^Warning: /, "")));
  const name = `series ${id} of ${source}`;
  if (warnings.some((line) => /interslice distance varies/i.test(line))) {
    throw new InputError(
      `${name} has slices at unequal distances (${warnings.join(" ")}): add the slices that are ` +
        `missing, or resample it`,
    );
  }
  const volume = await parseNifti(bytesOf(content, { source: name }));
  const notes = warnings.map((line) => `its conversion warns: ${line}`);
  return { ...volume, notes: [...volume.notes, ...notes] };
}
