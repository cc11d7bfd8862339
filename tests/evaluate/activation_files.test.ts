import { assert, assertEquals } from "@std/assert";
import { ActivationFiles } from "../../lib/evaluate/activation_files.ts";
import { join } from "node:path";

/** Runs `act` with a folder of its own. */
async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await act(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

/** Paths of all files below a folder. */
function files(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? files(join(folder, name)) : [join(folder, name)]
  );
}

const bytes = (...values: number[]) => Uint8Array.from(values);

Deno.test("activations come back as they were written, and go with the object", () =>
  inFolder(async (folder) => {
    const own = new ActivationFiles({ budget: 100, folder });
    assertEquals(names(folder), [], "nothing is made before there is something to write");
    await own.write("a", bytes(1, 2, 3));
    await own.write("b/..", bytes());
    await own.write("a", bytes(9, 9, 9));
    assertEquals(own.read("a"), bytes(1, 2, 3));
    assertEquals(own.read("b/.."), bytes());
    assertEquals(own.read("c"), null);
    assertEquals(own.bytes, 3);
    own[Symbol.dispose]();
    assertEquals(names(folder), []);
    assertEquals([own.read("a"), own.bytes], [null, 0]);
  }));

Deno.test("files stay within the budget", () =>
  inFolder(async (folder) => {
    using own = new ActivationFiles({ budget: 10, folder });
    await own.write("a", new Uint8Array(6));
    await own.write("b", new Uint8Array(5));
    assert(own.hasRoom(4) && !own.hasRoom(5));
    await own.write("c", new Uint8Array(4));
    assertEquals(["a", "b", "c"].map((key) => own.read(key)?.length), [6, undefined, 4]);
    assertEquals(own.bytes, 10);
  }));

Deno.test("a file that is damaged, cut short or gone is as if it had never been written", () =>
  inFolder(async (folder) => {
    using own = new ActivationFiles({ budget: 100, folder });
    const damages: ((path: string) => void)[] = [
      (path) => Deno.writeFileSync(path, bytes(1, 2, 3, 5)),
      (path) => Deno.truncateSync(path, 2),
      (path) => Deno.removeSync(path),
    ];
    for (const damage of damages) {
      await own.write("a", bytes(1, 2, 3, 4));
      assertEquals(own.read("a"), bytes(1, 2, 3, 4));
      damage(files(folder).find((path) => path.endsWith(".bin"))!);
      assertEquals(own.read("a"), null);
      assertEquals(own.bytes, 0);
      assertEquals(files(folder).filter((path) => path.endsWith(".bin")), []);
    }
  }));

Deno.test("the folder of a process that was killed is removed, that of a living one is not", () =>
  inFolder(async (folder) => {
    using living = new ActivationFiles({ budget: 100, folder });
    await living.write("a", bytes(1));
    // Remains of a killed process: its folder, and the file whose lock the system dropped.
    const dead = crypto.randomUUID();
    const mark = await Deno.readFile(files(folder).find((path) => path.endsWith(".lock"))!);
    await Deno.mkdir(join(folder, dead));
    await Deno.writeFile(join(folder, dead, "0.bin"), bytes(7));
    await Deno.writeFile(join(folder, `${dead}.lock`), mark);
    await Deno.writeTextFile(join(folder, "notes.txt"), "somebody else's");
    using next = new ActivationFiles({ budget: 100, folder });
    await next.write("a", bytes(2));
    assertEquals([living.read("a"), next.read("a")], [bytes(1), bytes(2)]);
    assertEquals(names(folder).length, 2 * 2 + 1);
    assert(!names(folder).some((name) => name.startsWith(dead)));
    assert(names(folder).includes("notes.txt"));
  }));

Deno.test("no folder is removed on the word of a lock that is not ours", () =>
  inFolder(async (parent) => {
    const folder = join(parent, "activations");
    const [own, marked] = [crypto.randomUUID(), crypto.randomUUID()];
    await Deno.mkdir(folder);
    for (const path of ["precious", join("activations", own), join("activations", "theirs")]) {
      await Deno.mkdir(join(parent, path));
      await Deno.writeTextFile(join(parent, path, "thesis.txt"), "years of work");
    }
    // "..lock" names the folder itself, "...lock" the one above it.
    for (const name of ["..lock", "...lock", "theirs.lock", `${own}.lock`]) {
      await Deno.writeTextFile(join(folder, name), "");
    }
    await Deno.mkdir(join(folder, `${marked}.lock`));
    const before = files(parent);
    {
      using next = new ActivationFiles({ budget: 100, folder });
      await next.write("a", bytes(2));
      assertEquals(next.read("a"), bytes(2));
    }
    assertEquals(files(parent), before);
    assert(names(folder).includes(`${marked}.lock`));
  }));

Deno.test("where nothing can be written nothing is kept, and nothing fails", () =>
  inFolder(async (folder) => {
    const blocked = join(folder, "file");
    await Deno.writeTextFile(blocked, "");
    using own = new ActivationFiles({ budget: 100, folder: blocked });
    await own.write("a", bytes(1));
    assertEquals([own.read("a"), own.hasRoom(1)], [null, false]);
  }));
