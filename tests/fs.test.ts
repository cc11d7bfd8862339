import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../lib/errors.ts";
import { dropWrites, removeTemporaries, writeAtomic, writeFileAtomic } from "../lib/fs.ts";

const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("a write that fails leaves the old content and nothing beside it", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "file.json");
  await writeFileAtomic(path, "old");
  await assertRejects(
    () =>
      writeAtomic(path, async (output) => {
        await output.getWriter().write(new Uint8Array(10));
        throw new Error("No space left on device (os error 28)");
      }),
    InputError,
    `cannot write ${path} (No space left on device (os error 28)): make room on the disk`,
  );
  assertEquals(await Deno.readTextFile(path), "old");
  assertEquals(names(folder), ["file.json"]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a file gets its name when it is on the disk, and then its folder, with those above it", async () => {
  const folder = await Deno.makeTempDir();
  const done: string[] = [];
  const { open, rename } = Deno;
  const short = (path: string | URL) =>
    String(path).replace(folder, "").replace(/\.\d+\.\d+\.tmp$/, ".tmp");
  Deno.open = async (path, options) => {
    const file = await open(path, options);
    const sync = file.sync.bind(file);
    file.sync = async () => {
      await sync();
      done.push(`sync ${short(path)}`);
    };
    return file;
  };
  Deno.rename = async (from, to) => {
    await rename(from, to);
    done.push(`rename ${short(from)} ${short(to)}`);
  };
  try {
    await writeFileAtomic(join(folder, "a", "b", "file.json"), "new");
    assertEquals(done, [
      "sync /a",
      "sync ",
      "sync /a/b/file.json.tmp",
      "rename /a/b/file.json.tmp /a/b/file.json",
      "sync /a/b",
    ]);
  } finally {
    Object.assign(Deno, { open, rename });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a program that exits amid a write takes what it has written along", async () => {
  const folder = await Deno.makeTempDir();
  const write = writeAtomic(join(folder, "file.json"), async (output) => {
    await output.getWriter().write(new Uint8Array(10));
    assertEquals(names(folder).length, 1);
    dropWrites();
    assertEquals(names(folder), []);
  });
  await assertRejects(() => write, InputError, "cannot write");
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

Deno.test("a cache in the system's folders, or in the place of a file, is told to be moved, and no flag of Deno's is named", async () => {
  const folder = await Deno.makeTempDir();
  const file = join(folder, "file");
  await Deno.writeTextFile(file, "");
  for (const cache of Deno.build.os === "linux" ? ["/proc/cache", file] : [file]) {
    const code = `import { cacheDir, writeFileAtomic } from "${
      import.meta.resolve("../lib/fs.ts")
    }";
      await writeFileAtomic(cacheDir("a", "b"), "x").catch(({ message }) => console.log(message));`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-q",
        "--no-prompt",
        "-R",
        `-W=${cache}`,
        "-E",
        `data:application/typescript,${encodeURIComponent(code)}`,
      ],
      env: { SAMLORA_CACHE: cache },
    }).output();
    const said = new TextDecoder().decode(stdout).trim();
    assertMatch(
      said,
      /^cannot write \S+ \([^()]+\): choose another folder for the cache by SAMLORA_CACHE$/,
    );
    assertEquals(said.includes("--"), false, said);
  }
  await Deno.remove(folder, { recursive: true });
});
