// A byte of a file of a study is changed, and whoever reads that file must refuse it by name, or come to
// the same figures.
import { assert } from "@std/assert";
import { crc32 } from "node:zlib";
import { dirname, join, relative } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";
import { ADAPTER_FILES } from "../../lib/adapters/adapter.ts";
import { openAdapter } from "../../lib/study/adapter.ts";
import { StudyFolder } from "../../lib/study/folder.ts";
import { Manifest } from "../../lib/study/manifest.ts";
import { recomputeStudyFiles } from "../../lib/study/read_study.ts";
import { filesBelow } from "./tiny_study.ts";

/** Result of each change: refused with a sentence that names the file, or without effect. */
export interface ChangedBytes {
  refused: number;
  harmless: number;
  /** Changes by kind of file. */
  readonly files: Record<string, number>;
}

/** Reads a study as each command does. */
const readers: readonly ((folder: string) => Promise<string>)[] = [
  // --resume of a study that is whole
  async (folder) => {
    using study = await StudyFolder.open(folder);
    await study.finish([]);
    return "whole";
  },
  // verify
  async (folder) => {
    await (await Manifest.open(folder)).require();
    return "sound";
  },
  // report
  async (folder) => JSON.stringify(await recomputeStudyFiles(folder)),
  // evaluate, predict and merge
  async (folder) => {
    const found = [];
    for (const file of filesBelow(join(folder, "adapters"))) {
      if (!file.endsWith(ADAPTER_FILES.weights)) continue;
      const adapter = await openAdapter(dirname(file));
      const tensors = [...adapter.tensors].map(([name, { bytes }]) => [name, crc32(bytes)]);
      found.push([adapter.config, adapter.metadata, tensors]);
    }
    return JSON.stringify(found);
  },
];

/**
 * Changes single bytes of a study's files, one at a time, and reads the study after each.
 *
 * @param options.changes How many; files have their turns, whatever their sizes.
 */
export async function changeBytes(
  folder: string,
  { changes, seed }: { changes: number; seed: number },
): Promise<ChangedBytes> {
  const random = new Random(`changed bytes/${seed}`);
  const found: ChangedBytes = { refused: 0, harmless: 0, files: {} };
  const before = await Promise.all(readers.map((read) => read(folder)));
  const files = filesBelow(folder).sort();
  for (let i = 0; i < changes; i++) {
    const file = files[i % files.length];
    const name = relative(folder, file);
    const kept = await Deno.readFile(file);
    if (kept.length === 0) continue;
    const changed = kept.slice();
    const at = random.int(kept.length);
    changed[at] ^= 1 + random.int(255);
    await Deno.writeFile(file, changed);
    let refusals = 0;
    for (const [k, read] of readers.entries()) {
      try {
        assert(await read(folder) === before[k], `byte ${at} of ${name} was believed`);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        assert(error.message.includes(name), `byte ${at} of ${name}: ${error.message}`);
        refusals++;
      }
    }
    if (refusals > 0) found.refused++;
    else found.harmless++;
    await Deno.writeFile(file, kept);
    found.files[name] = (found.files[name] ?? 0) + 1;
  }
  return found;
}

// deno run -A tests/faults/changed_bytes.ts STUDY [CHANGES]: of any finished study, on a copy.
if (import.meta.main) {
  const [study, changes = "300"] = Deno.args;
  const copy = await Deno.makeTempDir();
  for (const file of filesBelow(study)) {
    const target = join(copy, relative(study, file));
    await Deno.mkdir(join(target, ".."), { recursive: true });
    await Deno.copyFile(file, target);
  }
  const { files, ...counts } = await changeBytes(copy, { changes: Number(changes), seed: 0 });
  console.log({ ...counts, believed: 0, files });
  await Deno.remove(copy, { recursive: true });
}
