/**
 * DICOM series from files on disk.
 *
 * @module
 */
import process from "node:process";
import { isDicomFile, listSeries, type Series, type StartConverter } from "../formats/dicom.ts";
import { openBytes } from "../fs.ts";

/** True for a DICOM file, by its content; the index of a disc is none. */
export function isDicom(path: string): boolean {
  using file = openBytes(path);
  return isDicomFile(file);
}

/**
 * Tells the series of DICOM files apart, as {@linkcode listSeries} does.
 *
 * @param files Paths of the files, all of one folder.
 * @param source Name of the folder, for messages.
 * @throws {InputError} if they hold no images.
 */
export async function openSeries(
  files: readonly string[],
  source: string,
): Promise<{ series: Series[]; reasons: string[] }> {
  return await listSeries(files.map((path) => () => openBytes(path)), { source, start });
}

/** Starts the converter of the installed package. */
const start: StartConverter = async (options) => {
  // The package exports its worker alone, which stands beside the program.
  const url = new URL("./dcm2niix.jpeg.js", import.meta.resolve("@niivue/dcm2niix"));
  const { default: start } = await import(url.href) as { default: StartConverter };
  const converter = await start(options);
  return {
    FS: converter.FS,
    callMain: (args) => {
      const { exitCode } = process;
      try {
        return converter.callMain(args);
      } finally {
        process.exitCode = exitCode; // which it sets to its own
      }
    },
  };
};
