import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { InputError } from "../errors.ts";
import { readBytes } from "../fs.ts";

/** True of the path of an index of weights in several files. */
export function isShardIndex(path: string): boolean {
  return path.endsWith(".index.json");
}

/**
 * Refuses one of several files of weights, such as `model-00001-of-00002.safetensors`, by its name.
 *
 * @throws {InputError} naming the index to give instead.
 */
export function requireAllShards(path: string): void {
  const [, stem, count, ending] = /^(.*)-\d+-of-(\d+)(\.\w+)$/.exec(basename(path)) ?? [];
  if (stem === undefined || Number(count) < 2) return;
  const index = join(dirname(path), `${stem}${ending}.index.json`);
  throw new InputError(
    `${path} is one of ${Number(count)} files of weights: give their index, ${index}`,
  );
}

/** A file's name without a folder. */
const fileName = v.pipe(v.string(), v.regex(/^[^/\\]+$/));

const indexSchema = v.looseObject({ weight_map: v.record(v.string(), fileName) });

/**
 * The file of each tensor, by the index beside the files.
 *
 * @throws {InputError} if the index cannot be read or is none.
 */
export function readShardIndex(path: string): Map<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(readBytes(path)));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path} is not JSON: get the index again`);
  }
  const result = v.safeParse(indexSchema, value);
  if (result.success) return new Map(Object.entries(result.output.weight_map));
  throw new InputError(
    `${path} is no index of weights in several files (it has no sound weight_map): get it again`,
  );
}

/**
 * The files that an index names, sorted.
 *
 * @throws {InputError} if the index cannot be read or is none.
 */
export function shardPaths(path: string): string[] {
  return [...new Set(readShardIndex(path).values())].sort().map((name) =>
    join(dirname(path), name)
  );
}
