import { join } from "node:path";
import { InputError } from "../errors.ts";

/**
 * Reads a file of a run's folder; null if there is none.
 *
 * @param parse Throws if the text is not what the program has written.
 * @throws {InputError} if the file is damaged.
 */
export async function readRunFile<T>(
  run: string,
  { file, parse }: { file: string; parse: (text: string) => T },
): Promise<T | null> {
  const path = join(run, file);
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch {
    return null;
  }
  try {
    return parse(text);
  } catch {
    throw new InputError(`${path} is damaged: remove ${run} to make this run again`);
  }
}
