/**
 * The files of the page: its program, bundled from the same modules that the command line runs, and the
 * weights, adapters and scan that it begins with.
 *
 * @module
 */
import { build, stop } from "esbuild";
import { basename, join } from "node:path";
import metadata from "../../deno.json" with { type: "json" };
import { ADAPTER_FILES } from "../adapters/adapter.ts";
import { excerpt, InputError } from "../errors.ts";
import { readPackaged, weightsFile } from "../files/pretrained.ts";
import { isShardIndex } from "../files/shard_index.ts";
import { openBytes, readBytes, sha256 } from "../fs.ts";
import { night, paper, properties } from "../report/palette.ts";
import { type ModelName, MODELS } from "../sam/models.ts";
import { describeWeights } from "../study/environment.ts";
import type { ServedFile, Site } from "./protocol.ts";

/** Root of the package. */
const ROOT = join(import.meta.dirname!, "..", "..");

/** Sources of the page. */
const PAGE = join(import.meta.dirname!, "page");

/**
 * Policy of what the page may load: itself. Emscripten's program, which reads DICOM, compiles WebAssembly; NiiVue draws
 * its letters from pictures in its own code. Nothing is evaluated, and there are no styles but the page's.
 */
export const POLICY: string = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** A file of the site. */
export interface SiteFile {
  /** Its media type. */
  readonly type: string;
  /** Reads it. */
  read(): Promise<Uint8Array<ArrayBuffer>>;
}

/** Contents of the page that are chosen. */
export interface SiteOptions {
  /** The pretrained model. */
  readonly model: ModelName;
  /** Path of its weights; null for the published ones. */
  readonly weights: string | null;
  /** Side of the model's input where no adapter says; null for the model's own. */
  readonly side: number | null;
  /** Adapters by the names of the chooser, with their folders or files. */
  readonly adapters: readonly { readonly name: string; readonly path: string }[];
  /** Name of the one to begin with; null for none. */
  readonly adapter: string | null;
  /** Files of the scan. */
  readonly scan: readonly string[];
  /** Sentence on the scan's origin. */
  readonly about: string | null;
}

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  txt: "text/plain; charset=utf-8",
  wasm: "application/wasm",
};

/** A file with the type of its name. */
function file(name: string, read: SiteFile["read"]): [name: string, SiteFile] {
  const type = TYPES[name.split(".").at(-1)!] ?? "application/octet-stream";
  return [name, { type, read }];
}

const text = (content: string) => () => Promise.resolve(new TextEncoder().encode(content));

const disk = (path: string) => () => Promise.resolve().then(() => readBytes(path));

/**
 * Bundles the page and gathers what it begins with. Names are relative to the page.
 *
 * @throws {InputError} if weights, an adapter or the scan cannot be read.
 */
export async function siteFiles(options: SiteOptions): Promise<Map<string, SiteFile>> {
  const weights = await weightFiles(options);
  const adapters = options.adapters.map(adapterFiles);
  const scan = options.scan.map((path, i) => {
    openBytes(path)[Symbol.dispose]();
    return { name: basename(path), url: `scan/${i}`, path };
  });
  const site: Site = {
    model: options.model,
    weightsName: await describeWeights(await weightsFile(options)),
    weights: weights.map(({ read: _, ...served }) => served),
    side: options.side,
    adapters: adapters.map(({ name, files }) => ({
      name,
      files: files.map(({ path: _, ...served }) => served),
    })),
    adapter: options.adapter,
    scan: scan.map(({ path: _, ...served }) => served),
    about: options.about,
  };
  return new Map([
    ...await pageFiles(),
    file("site.json", text(JSON.stringify(site))),
    ...weights.map(({ url, read }) => file(url, read)),
    ...[...adapters.flatMap(({ files }) => files), ...scan].map(({ url, path }) =>
      file(url, disk(path))
    ),
  ]);
}

/** The page itself. */
async function pageFiles(): Promise<[name: string, SiteFile][]> {
  const dcm2niix = new URL("./", import.meta.resolve("@niivue/dcm2niix"));
  const bundled = await bundle();
  const html = await Deno.readTextFile(join(PAGE, "index.html"));
  const css = await Deno.readTextFile(join(PAGE, "page.css"));
  const masks = night.series.slice(1).map((colour, i) => `--m${i + 1}:${colour}`).join(";");
  const dark = `@media (prefers-color-scheme: dark) { :root { ${properties(night)} } }`;
  return [
    file("index.html", text(html.replace("{{policy}}", POLICY))),
    file("page.css", text(`:root { ${properties(paper)};${masks} }\n${dark}\n${css}`)),
    ...Object.entries(bundled).map(([name, content]) => file(name, text(content))),
    ...["dcm2niix.jpeg.js", "dcm2niix.jpeg.wasm"].map((name) =>
      file(name, () => Deno.readFile(new URL(name, dcm2niix)))
    ),
  ];
}

/** The programs of page and worker, and the licences of the packages in them. */
async function bundle(): Promise<Record<string, string>> {
  try {
    const { outputFiles, metafile } = await build({
      entryPoints: {
        page: join(PAGE, "page.ts"),
        worker: join(import.meta.dirname!, "worker.ts"),
      },
      outdir: ROOT,
      absWorkingDir: ROOT,
      bundle: true,
      minify: true,
      legalComments: "none",
      metafile: true,
      platform: "browser",
      format: "esm",
      target: "es2024",
      write: false,
      loader: { ".wgsl": "text" },
      logLevel: "silent",
    });
    const programs = outputFiles.map(({ path, text }) => [basename(path), text]);
    return {
      ...Object.fromEntries(programs),
      "licences.txt": await licences(Object.keys(metafile.inputs)),
    };
  } finally {
    await stop();
  }
}

/** Names, versions and licences of the packages that files come from. */
async function licences(files: readonly string[]): Promise<string> {
  const folders = new Set(files.flatMap((path) => {
    const [folder] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path) ?? [];
    return folder === undefined ? [] : [folder];
  }));
  const parts = [`samlora ${metadata.version}, Apache-2.0`];
  for (const folder of [...folders].sort()) {
    const { name, version, license, author } = JSON.parse(
      await Deno.readTextFile(join(ROOT, folder, "package.json")),
    );
    const by = typeof author === "string" ? author : author?.name;
    const own = [...Deno.readDirSync(join(ROOT, folder))].find(({ name }) =>
      /^licen[cs]e/i.test(name)
    );
    const full = own ? `\n\n${await Deno.readTextFile(join(ROOT, folder, own.name))}` : "";
    parts.push(`${name} ${version}, ${license}${by ? `, ${by}` : ""}${full}`);
  }
  return parts.join("\n\n--------\n\n") + "\n";
}

/** Files of the model's weights. */
async function weightFiles(
  { model, weights }: Pick<SiteOptions, "model" | "weights">,
): Promise<(Site["weights"][number] & Pick<SiteFile, "read">)[]> {
  const path = await weightsFile({ model, weights });
  if (path !== null) {
    if (isShardIndex(path)) {
      throw new InputError(
        `${excerpt(path)} lists several files of weights, and the page takes one: merge them first`,
      );
    }
    const { size } = await Deno.stat(path);
    const name = basename(path);
    const hash = await sha256(path);
    return [{ name, url: "weights/0", bytes: size, sha256: hash, read: disk(path) }];
  }
  const { encoder, decoder } = MODELS[model].packaged!;
  return [encoder, decoder].map((graph, i) => ({
    name: graph.file,
    url: `weights/${i}`,
    bytes: graph.bytes,
    sha256: graph.sha256,
    read: () => readPackaged(graph),
  }));
}

/** Files of an adapter: a PEFT folder's two, or one. */
function adapterFiles(
  { name, path }: SiteOptions["adapters"][number],
  n: number,
): { name: string; files: (ServedFile & { path: string })[] } {
  const isFolder = Deno.statSync(path).isDirectory;
  const inner = isFolder ? [path, join(path, "adapter")] : [];
  const isThere = (file: string) => {
    try {
      return Deno.statSync(file).isFile;
    } catch {
      return false;
    }
  };
  const folder = inner.find((folder) => isThere(join(folder, ADAPTER_FILES.weights)));
  if (isFolder && folder === undefined) {
    throw new InputError(
      `${excerpt(path)} holds no adapter: name a PEFT folder, or a file of Sam_LoRA`,
    );
  }
  const paths = folder === undefined
    ? [path]
    : Object.values(ADAPTER_FILES).map((file) => join(folder, file)).filter(isThere);
  return {
    name,
    files: paths.map((path, i) => ({ name: basename(path), url: `adapters/${n}/${i}`, path })),
  };
}
