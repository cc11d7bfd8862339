import { assertEquals } from "@std/assert";
import { basename, dirname, join, relative } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { cacheIn } from "../data/temporary.ts";
import { unclear } from "./kind.ts";
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
    for (const [path, bytes] of Object.entries(files)) {
      await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
      await Deno.writeFile(join(folder, path), bytes);
    }
    using _ = cacheIn(folder);
    try {
      await kindNamed(kind).read(folder, { edits: [name], files });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      assertEquals(unclear(error.message, folder), null, error.message);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
