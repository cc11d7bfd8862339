import { dirname, join, relative } from "node:path";
import metadata from "../../deno.json" with { type: "json" };
import { InputError } from "../../lib/errors.ts";
import { makeFolder } from "../../lib/fs.ts";
import { DAWN } from "../../lib/study/schema.ts";
import { ROOT, runDeno } from "./child.ts";

/** Bytes of an archive at most. */
export const LARGEST = 60 * 2 ** 20;

/** Bytes of files in an archive, before they are compressed: what compresses badly fits as well. */
const FULL = 55 * 2 ** 20;

/** This system, as Deno's own packages name it. */
const SYSTEM = `${Deno.build.os}-${Deno.build.arch}`;

/** Files and folders of the repository that measuring needs. */
const SOURCES = [
  "deno.json",
  "LICENSE",
  "NOTICE",
  "README.md",
  "mod.ts",
  "run",
  "experiments",
  "kernels",
  "lib",
  "node_modules",
  "results/default",
  "tests",
];

/** Packages that it does without: those of the browser's tests and of other libraries; Dawn for other systems. */
const LEFT_OUT = [
  /^node_modules\/(?:\.deno\/)?(?:onnxruntime|puppeteer|@puppeteer|chromium-bidi|devtools|esbuild|@esbuild|@types|zod|@niivue[/+]niivue|zarrita|@zarrita|gl-matrix)/,
  new RegExp(
    `/webgpu/dist/(?!${SYSTEM.replace("x86_64", "x64").replace("aarch64", "arm64")}$)[^/]+$`,
  ),
  /^tests\/fuzz\/corpus|^tests\/.*node_modules$/,
];

/** Places of the Vulkan loader. */
const LOADERS = [
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
];

/** A file of an archive. */
interface Entry {
  /** Folder that `path` starts from. */
  readonly root: string;
  readonly path: string;
  readonly bytes: number;
}

/** Files and links below some paths. */
function* entriesOf(root: string, paths: readonly string[]): Generator<Entry> {
  for (const path of paths) {
    if (LEFT_OUT.some((pattern) => pattern.test(path))) continue;
    const info = Deno.lstatSync(join(root, path));
    if (info.isDirectory) {
      const names = [...Deno.readDirSync(join(root, path))].map(({ name }) => join(path, name));
      yield* entriesOf(root, names.sort());
    } else yield { root, path, bytes: info.size };
  }
}

/** Cuts a file into pieces that fit. */
function cut({ root, path }: Entry, staging: string): Entry[] {
  const bytes = Deno.readFileSync(join(root, path));
  return Array.from({ length: Math.ceil(bytes.length / FULL) }, (_, i) => {
    const piece = `${path}.piece-${String(i).padStart(2, "0")}`;
    const content = bytes.subarray(i * FULL, (i + 1) * FULL);
    Deno.mkdirSync(dirname(join(staging, piece)), { recursive: true });
    Deno.writeFileSync(join(staging, piece), content);
    return { root: staging, path: piece, bytes: content.length };
  });
}

/** Puts entries into archives, in order. */
export function group(entries: readonly Entry[]): Entry[][] {
  const groups: Entry[][] = [[]];
  let sum = 0;
  for (const entry of entries) {
    if (sum + entry.bytes > FULL && sum > 0) {
      groups.push([]);
      sum = 0;
    }
    groups.at(-1)!.push(entry);
    sum += entry.bytes;
  }
  return groups;
}

/** Copies what lies outside of the repository: Deno, where `run` looks for it, and the Vulkan loader. */
function stage(staging: string): void {
  const [version] = /^version=(.*)$/m.exec(Deno.readTextFileSync(join(ROOT, "run")))!.slice(1);
  if (version !== Deno.version.deno) {
    throw new InputError(
      `--pack must be run by Deno ${version}, which run names, and this is ${Deno.version.deno}`,
    );
  }
  const deno = join(staging, ".deno", version, "node_modules/@deno", SYSTEM);
  Deno.mkdirSync(deno, { recursive: true });
  Deno.copyFileSync(Deno.execPath(), join(deno, "deno"));
  for (const folder of LOADERS) {
    try {
      Deno.copyFileSync(join(folder, "libvulkan.so.1"), join(staging, ".deno", "libvulkan.so.1"));
      break;
    } catch {
      // It is not in this folder.
    }
  }
  for (const name of ["README.txt", "unpack.sh"]) {
    Deno.copyFileSync(join(import.meta.dirname!, name), join(staging, name));
  }
}

async function tar(archive: string, entries: readonly Entry[]): Promise<void> {
  const lists = Map.groupBy(entries, ({ root }) => root);
  const args = ["--create", "--gzip", "--owner=0", "--group=0", `--file=${archive}`];
  const folder = await Deno.makeTempDir();
  try {
    for (const [i, [root, list]] of [...lists].entries()) {
      const file = join(folder, String(i));
      await Deno.writeTextFile(file, list.map(({ path }) => `${path}\n`).join(""));
      args.push(`--directory=${root}`, `--files-from=${file}`);
    }
    const { success, stderr } = await new Deno.Command("tar", { args }).output();
    if (!success) throw new InputError(`tar failed: ${new TextDecoder().decode(stderr).trim()}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes archives, each of at most 60 MiB, with all that measuring takes without network. */
export async function pack(out: string): Promise<void> {
  if (Deno.build.os !== "linux") throw new InputError("--pack packs for Linux, on Linux");
  const { success, reason } = await runDeno(["cache", "--quiet", "--no-lock", DAWN], {
    signal: AbortSignal.timeout(120_000),
  });
  if (!success) console.log(`without Dawn, which cannot be fetched: ${reason}`);
  await makeFolder(out);
  const staging = await Deno.makeTempDir();
  try {
    stage(staging);
    const own = [...entriesOf(staging, ["README.txt", "unpack.sh", ".deno"])];
    const small = own.filter(({ path }) => !path.startsWith(".deno"));
    const entries = [...small, ...entriesOf(ROOT, SOURCES), ...own.slice(small.length)];
    const groups = group(
      entries.flatMap((entry) => entry.bytes > FULL ? cut(entry, staging) : [entry]),
    );
    for (const [i, group] of groups.entries()) {
      const archive = join(out, `samlora-${i + 1}.tar.gz`);
      await tar(archive, group);
      const { size } = await Deno.stat(archive);
      if (size > LARGEST) throw new Error(`${archive} has ${size} bytes`);
      console.log(`${relative(Deno.cwd(), archive)}: ${(size / 2 ** 20).toFixed(1)} MiB`);
    }
    for (const name of ["README.txt", "unpack.sh"]) {
      await Deno.copyFile(join(staging, name), join(out, name));
    }
    console.log(`samlora ${metadata.version}: copy the folder ${out} and see its README.txt`);
  } finally {
    await Deno.remove(staging, { recursive: true });
  }
}
