import { assertEquals } from "@std/assert";
import { basename, dirname, join, relative } from "node:path";
import { cacheIn } from "../data/temporary.ts";
import { outcomeOf, writeFiles } from "./kind.ts";
import { kindNamed } from "./kinds/mod.ts";

const corpus = join(import.meta.dirname!, "corpus");

/** Every file below a folder. */
function* filesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* filesIn(join(folder, name));
    else yield join(folder, name);
  }
}

const entries = [...Deno.readDirSync(corpus)].flatMap(({ name: kind }) =>
  [...Deno.readDirSync(join(corpus, kind))].map(({ name }) => join(corpus, kind, name))
).sort();

for (const entry of entries) {
  const kind = basename(dirname(entry));
  const name = basename(entry).replaceAll("_", " ");
  Deno.test(`a ${kind} file that was misread once is refused in a sentence or read rightly: ${name}`, async () => {
    const folder = await Deno.makeTempDir();
    const files: Record<string, Uint8Array> = {};
    for (const path of filesIn(entry)) files[relative(entry, path)] = await Deno.readFile(path);
    const fuzzCase = { edits: [name], files };
    using _ = cacheIn(folder);
    try {
      await writeFiles(folder, fuzzCase);
      const { detail } = await outcomeOf(kindNamed(kind), fuzzCase, folder);
      assertEquals(detail, undefined);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
