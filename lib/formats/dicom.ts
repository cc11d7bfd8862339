/**
 * DICOM series by npm `@niivue/dcm2niix`, which orders slices by position, tells series apart and takes
 * spacing and orientation from the headers. It works on copies in memory: no file is written.
 *
 * @module
 */
import { allBytes, bytesOf, type ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { parseNifti } from "./nifti.ts";
import type { Volume } from "./volume.ts";

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

/** The parts of dcm2niix, compiled by Emscripten, that are used here. */
export interface Converter {
  /** Its file system in memory. */
  readonly FS: {
    /** Makes a folder. */
    mkdir(path: string): void;
    /** Makes a file. */
    createDataFile(
      folder: string,
      name: string,
      bytes: Uint8Array,
      canRead: boolean,
      canWrite: boolean,
    ): void;
    /** Names in a folder. */
    readdir(path: string): string[];
    /** Content of a file. */
    readFile(path: string): Uint8Array<ArrayBuffer>;
  };
  /** Runs it with these arguments. */
  callMain(args: string[]): number;
}

/** Starts a converter anew, which prints its lines to both functions. */
export type StartConverter = (
  options: { print: (line: string) => void; printErr: (line: string) => void },
) => Promise<Converter>;

/** Opens one of the files of a folder. */
export type OpenFile = () => ByteSource;

/** True for a DICOM file, by its content; the index of a disc is none. */
export function isDicomFile(file: ByteSource): boolean {
  if (/(^|[/\\])dicomdir$/i.test(file.name) || file.size < 132) return false;
  const magic = new Uint8Array(4);
  file.read(128, magic);
  return String.fromCharCode(...magic) === "DICM";
}

/** Files that a conversion wrote, by name, and the lines that it printed. */
interface Converted {
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly lines: readonly string[];
}

/**
 * Tells the series of DICOM files apart.
 *
 * @param files The files, all of one folder.
 * @param options.source Name of the folder, for messages.
 * @param options.start Starts a converter.
 * @returns the series, and reasons for which slices were not taken for one.
 * @throws {InputError} if they hold no images.
 */
export async function listSeries(
  files: readonly OpenFile[],
  { source, start }: { source: string; start: StartConverter },
): Promise<{ series: Series[]; reasons: string[] }> {
  // Descriptions alone would take each other's place where series have one number.
  const listed = await convert(files, ["-b", "y", "-ba", "n"], { source, start });
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
        if (!kept?.files.has(`${id}.nii`)) {
          kept = await convert(files, ["-b", "n"], { source, start });
        }
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
  files: readonly OpenFile[],
  options: readonly string[],
  { source, start }: { source: string; start: StartConverter },
): Promise<Converted> {
  const lines: string[] = [];
  const sources: string[] = []; // of the copies, by their number
  const print = (line: string) =>
    void lines.push(line.replaceAll(/\/in\/(\d+)\.dcm/g, (copy, i) => sources[i] ?? copy));
  const converter = await start({ print, printErr: print });
  converter.FS.mkdir("/in");
  converter.FS.mkdir("/out");
  for (const [i, open] of files.entries()) {
    using file = open();
    sources.push(file.name);
    converter.FS.createDataFile("/in", `${i}.dcm`, allBytes(file), true, false);
  }
  try {
    converter.callMain(["-z", "n", "-f", "%s", ...options, "-o", "/out", "/in"]);
  } catch (error) {
    refuse(source, [`error: ${error instanceof Error ? error.message : error}`]);
  }
  const names = converter.FS.readdir("/out").filter((name) => !name.startsWith(".")).sort();
  return {
    files: new Map(names.map((name) => [name, converter.FS.readFile(`/out/${name}`)])),
    lines,
  };
}

/** Lines that tell why nothing was converted; that no image is found at all is said in our words. */
const TELLING_FAILURE = /^error(?!: unable to find any dicom)|^(warning: )?file not large enough/i;

function refuse(source: string, lines: readonly string[]): never {
  const line = lines.find((line) => TELLING_FAILURE.test(line));
  const reason = line?.replace(/^Warning: /, "") ?? "no image of one series is in them";
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
