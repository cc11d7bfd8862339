/**
 * `finished.json`: says of a run in a study that goes on that it is finished, and holds what the study's
 * comparison takes of it. It lies beside the run's checkpoints and goes with them.
 *
 * @module
 */
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { FinishedRun } from "./run_experiment.ts";
import { readRunFile } from "./run_file.ts";
import { CHECKPOINT_FOLDER } from "./study_folder.ts";

/** The file within a run's folder. */
export const FINISHED = join(CHECKPOINT_FOLDER, "finished.json");

/** The content of the file: what it holds is trusted by its checksum. */
export function formatFinished({ sample, ...rest }: FinishedRun): string {
  const run = { ...rest, sample: sample && { ...sample, mask: sample.mask.toBase64() } };
  return JSON.stringify({ crc32: crc32(JSON.stringify(run)), run }, null, 2) + "\n";
}

/**
 * What came of a run that is finished; null if it is not.
 *
 * @throws {InputError} if the file that says so is damaged.
 */
export function readFinished(folder: string): Promise<FinishedRun | null> {
  return readRunFile(folder, {
    file: FINISHED,
    parse: (text) => {
      const value = JSON.parse(text);
      if (crc32(JSON.stringify(value.run)) !== value.crc32) {
        throw new Error("its checksum is wrong");
      }
      const { sample, ...rest } = value.run;
      return {
        ...rest,
        sample: sample && { ...sample, mask: Uint8Array.fromBase64(sample.mask) },
      };
    },
  });
}
