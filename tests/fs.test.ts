import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../lib/errors.ts";
import { removeTemporaries, writeAtomic, writeFileAtomic } from "../lib/fs.ts";

const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("a write that fails leaves the old content and nothing beside it", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "file.json");
  await writeFileAtomic(path, "old");
  await assertRejects(
    () =>
      writeAtomic(path, async (file) => {
        await file.write(new Uint8Array(10));
        throw new Error("No space left on device (os error 28)");
      }),
    InputError,
    `cannot write ${path} (No space left on device (os error 28)): make room on the disk`,
  );
  assertEquals(await Deno.readTextFile(path), "old");
  assertEquals(names(folder), ["file.json"]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("what killed writes left is removed, and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  for (const name of ["a.json", "a.json.12.3.tmp", "b.12.tmp", "c.tmp", "d.1.2.tmp.json"]) {
    await Deno.writeTextFile(join(folder, name), "x");
  }
  await removeTemporaries(folder);
  assertEquals(names(folder), ["a.json", "b.12.tmp", "c.tmp", "d.1.2.tmp.json"]);
  await removeTemporaries(join(folder, "missing"));
  await Deno.remove(folder, { recursive: true });
});
