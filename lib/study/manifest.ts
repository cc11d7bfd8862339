/**
 * `manifest.json`: the SHA-256 of every file that a study keeps, written along with them. What was changed
 * afterwards is not believed, by whatever command reads it. While a study goes on, each task lists its files
 * in a manifest of its own, so that tasks of several machines write at once.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join, resolve, sep } from "node:path";
import * as v from "valibot";
import { ADAPTER_FILES } from "../adapters/adapter.ts";
import { excerpt, InputError, shellWord } from "../errors.ts";
import { isTemporary, sha256, writeAtomic, writeFileAtomic } from "../fs.ts";
import { LEASES } from "./lease.ts";
import { notAStudy, PLAN } from "./plan.ts";
import { FILES, readJson } from "./results.ts";

/** File within a study's folder. */
export const MANIFEST = "manifest.json";

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "it is no SHA-256"));

const manifestSchema = v.strictObject({
  /** Sentences on changes that were taken knowingly; the table repeats them. */
  accepted: v.array(v.string()),
  /** SHA-256 of each file by its path within the study. */
  files: v.record(v.string(), hash),
  /** Those of files that are being replaced: if that is cut short, either is right. */
  pending: v.record(v.string(), hash),
  /** SHA-256 of the three as JSON. */
  checksum: hash,
});

type Listing = Omit<v.InferOutput<typeof manifestSchema>, "checksum">;

/** Content of a file: the whole, or pieces of it one after the other. */
export type Content =
  | Uint8Array
  | string
  | Iterable<string>
  | AsyncIterable<Uint8Array>;

/** Characters of a text that are written at a time. */
const PIECE = 2 ** 16;

/** Bytes of a content, small pieces together. */
async function* piecesOf(content: Content): AsyncGenerator<Uint8Array> {
  if (content instanceof Uint8Array) return yield content;
  const encoder = new TextEncoder();
  if (typeof content === "string") return yield encoder.encode(content);
  let text = "";
  for await (const piece of content) {
    if (typeof piece !== "string") {
      yield piece;
      continue;
    }
    text += piece;
    if (text.length < PIECE) continue;
    yield encoder.encode(text);
    text = "";
  }
  if (text !== "") yield encoder.encode(text);
}

/** Files of a study that no result comes from: progress to watch, notes, evaluations, leases, jobs. */
const FREE = new RegExp(
  `(^|/)(events\\.out\\.tfevents\\.[^/]*\\.\\d+|metrics\\.jsonl|notes\\.json|evaluation-[^/]*\\.json|manifest\\.json|jobs\\.json|(${LEASES}|logs)/.*)$`,
);

/** Files that are made anew of the others. */
export const DERIVED = /^(table\.md|report(\.md|\.html|\/.*))$/;

/** A file that is not as its study left it. */
export interface Change {
  /** Its path within the study. */
  readonly path: string;
  /** Its hash as it is now; null if it is missing. */
  readonly found: string | null;
}

/** The files of a study with their hashes; every file of a study is written through it. */
export class Manifest {
  /** Folder of the study. */
  readonly folder: string;
  /** Path of its own file within the study. */
  readonly name: string;
  /** False for a study of a version that had none: it can be read, not verified. */
  isThere: boolean;
  #content: Listing;

  private constructor(folder: string, name: string, content: Listing | null) {
    this.folder = folder;
    this.name = name;
    this.isThere = content !== null;
    this.#content = content ?? { accepted: [], files: {}, pending: {} };
  }

  /** Makes the manifest of a new study, or of a task whose own has this name. */
  static async create(folder: string, name: string = MANIFEST): Promise<Manifest> {
    const manifest = new Manifest(folder, name, { accepted: [], files: {}, pending: {} });
    await manifest.#save();
    return manifest;
  }

  /**
   * Reads the manifest of a study, which an older one lacks, or of a task whose own has this name.
   *
   * @throws {InputError} if it was changed itself.
   */
  static async open(folder: string, name: string = MANIFEST): Promise<Manifest> {
    const path = join(folder, name);
    const found = await readJson(manifestSchema, path);
    if (found === null) return new Manifest(folder, name, null);
    const { checksum, ...content } = found;
    if (checksum === checksumOf(content)) return new Manifest(folder, name, content);
    throw new InputError(
      `${path} was changed after the study had written it: put it back from a copy, or remove it, and ` +
        `take the files as they are with ./run verify ${shellWord(folder)} --accept-changes`,
    );
  }

  /** Paths of the files, within the study. */
  get paths(): readonly string[] {
    return Object.keys(this.#content.files).sort();
  }

  /** Sentences on changes that were taken knowingly. */
  get accepted(): readonly string[] {
    return this.#content.accepted;
  }

  /** True if a file is listed. */
  has(path: string): boolean {
    return this.#content.files[unix(path)] !== undefined;
  }

  /**
   * Writes a file of the study, and its hash: before it gets its name where it replaces one.
   *
   * @param path Relative to the study's folder.
   * @param content The whole, or pieces of it one after the other.
   * @param before Called just before anything gets its name.
   * @throws {InputError} if the folder cannot be written to.
   */
  async write(path: string, content: Content, before?: () => void): Promise<void> {
    const name = unix(path);
    const { files, pending } = this.#content;
    const isListed = this.isThere && !FREE.test(name);
    const hash = createHash("sha256");
    let digest = "";
    await writeAtomic(join(this.folder, path), async (output) => {
      const writer = output.getWriter();
      for await (const bytes of piecesOf(content)) {
        hash.update(bytes);
        await writer.write(bytes);
      }
      digest = hash.digest("hex");
      if (!isListed || files[name] === undefined || files[name] === digest) return;
      pending[name] = digest;
      await this.#save(before);
    }, before);
    if (!isListed || files[name] === digest) return;
    delete pending[name];
    files[name] = digest;
    await this.#save(before);
  }

  /** Lists files of tasks, which stay when the tasks' own manifests go. */
  async adopt(files: Readonly<Record<string, string>>): Promise<void> {
    Object.assign(this.#content.files, files);
    await this.#save();
  }

  /** Hashes of files by path. */
  hashes(isMeant: (path: string) => boolean): Readonly<Record<string, string>> {
    return Object.fromEntries(
      Object.entries(this.#content.files).filter(([path]) => isMeant(path)),
    );
  }

  /** Removes a file or folder of the study, if it is there. */
  async remove(path: string): Promise<void> {
    await this.forget(path);
    await Deno.remove(join(this.folder, path), { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  /** Strikes files and folders from the list. */
  async forget(...paths: readonly string[]): Promise<void> {
    const names = paths.map(unix);
    const isMeant = (file: string) =>
      names.some((name) => file === name || file.startsWith(`${name}/`));
    const found = this.paths.filter(isMeant);
    for (const file of found) {
      delete this.#content.files[file];
      delete this.#content.pending[file];
    }
    if (this.isThere && found.length > 0) await this.#save();
  }

  /**
   * Files that are not as the study left them.
   *
   * @param isMeant Says which are looked at; default all.
   */
  async changes(isMeant: (path: string) => boolean = () => true): Promise<Change[]> {
    const { files, pending } = this.#content;
    const changes: Change[] = [];
    const look = async (path: string, expected: readonly (string | null)[]) => {
      const file = join(this.folder, path);
      const found = isThere(file) ? await sha256(file) : null;
      if (!expected.includes(found)) changes.push({ path, found });
    };
    for (const path of this.paths.filter(isMeant)) {
      await look(path, [files[path], pending[path]]);
      // A config beside weights that had none would turn them into another adapter.
      const config = join(dirname(path), ADAPTER_FILES.config);
      if (path.endsWith(ADAPTER_FILES.weights) && !this.has(config)) await look(config, [null]);
    }
    return changes;
  }

  /**
   * True for a change that may bring about a wrong figure. Files of a finished study may be left out, such
   * as weights for their size; of one under way the plan alone is missing, where it went just before it was
   * struck from the list.
   */
  isFault({ path, found }: Change): boolean {
    const isEnded = !this.has(PLAN) || path === PLAN && this.has(FILES.table);
    return found !== null || !isEnded || this.#isOfTask;
  }

  /**
   * Refuses files that are not as the study left them.
   *
   * @param isMeant Says which are looked at; default all.
   * @throws {InputError} naming the first with its row, and what to do.
   */
  async require(isMeant?: (path: string) => boolean): Promise<void> {
    const changes = await this.changes(isMeant);
    const [first, ...others] = changes.filter((change) => this.isFault(change));
    if (first) throw new InputError(this.#refusal(first, others.length));
  }

  get #isOfTask(): boolean {
    return this.name !== MANIFEST;
  }

  /**
   * Takes the files as they are; the table says so from then on.
   *
   * @param others Manifests of the study's tasks.
   * @returns the new sentences.
   */
  async accept(others: readonly Manifest[] = []): Promise<readonly string[]> {
    const day = new Date().toISOString().slice(0, 10);
    const sentences: string[] = [];
    if (!this.isThere) {
      this.isThere = true;
      for (const path of await this.unlisted(others)) {
        this.#content.files[path] = await sha256(join(this.folder, path));
      }
      sentences.push(
        `The study's files were listed with their hashes on ${day}, after it had ended: changes before that cannot be seen.`,
      );
    }
    for (const { path, found } of (await this.changes()).filter((one) => this.isFault(one))) {
      if (found === null) delete this.#content.files[path];
      else this.#content.files[path] = found;
      sentences.push(
        `${named(path)} was ${
          found === null ? "removed" : "changed"
        } after the study had written ` +
          `it, and taken knowingly on ${day}.`,
      );
    }
    this.#content.pending = {};
    this.#content.accepted.push(...sentences);
    await this.#save();
    return sentences;
  }

  /** Files of the folder that are not listed, though something might be read from them. */
  async unlisted(others: readonly Manifest[] = []): Promise<string[]> {
    const found = await filesBelow(this.folder);
    return found.filter((path) => !FREE.test(path) && !path.includes("checkpoint/"))
      .filter((path) => !isTemporary(path) && ![this, ...others].some((one) => one.has(path)))
      .sort();
  }

  #refusal({ path, found }: Change, others: number): string {
    const row = rowOf(path);
    const isUnderWay = (this.has(PLAN) || this.#isOfTask) && row !== null;
    const again = isUnderWay ? `, or remove ${join(this.folder, row)} to make that row again` : "";
    return `${join(this.folder, named(path))} was ${
      found === null ? "removed" : "changed"
    } after the study had written it${
      others > 0 ? ` (and ${others} more)` : ""
    }: put it back from a ` +
      `copy${again}, or take it knowingly with ./run verify ${
        shellWord(this.folder)
      } --accept-changes`;
  }

  async #save(before?: () => void): Promise<void> {
    await writeFileAtomic(join(this.folder, this.name), manifestJson(this.#content), before);
  }
}

/**
 * Manifests of the tasks of a study that is under way; none of a finished one.
 *
 * @throws {InputError} if one was changed itself.
 */
export async function taskManifests(folder: string): Promise<Manifest[]> {
  const names = (await filesBelow(folder)).filter((path) => path.endsWith(`/${MANIFEST}`));
  return await Promise.all(names.sort().map((name) => Manifest.open(folder, name)));
}

/** Folder of the study that an adapter lies in, as its manifest beside `adapters` tells; null for others. */
export function studyAround(adapter: string): string | null {
  // adapters/lora_16, adapters/seed_0/lora_16
  for (const up of ["../..", "../../.."]) {
    const folder = join(resolve(adapter), up);
    const isAbove = resolve(adapter).startsWith(join(folder, FILES.adapters) + sep);
    try {
      if (isAbove && Deno.statSync(join(folder, MANIFEST)).isFile) return folder;
    } catch {
      // None there, or none that this process was granted, and then it is not there either.
    }
  }
  return null;
}

/**
 * Refuses an adapter that is not as its study left it.
 *
 * @param path Its folder.
 * @throws {InputError} naming the file and the row.
 */
export async function requireUnchanged(path: string): Promise<void> {
  const folder = studyAround(path);
  if (folder === null) return;
  const own = within(folder, path);
  for (const name of manifestsOf(folder, path)) {
    const manifest = await Manifest.open(folder, name);
    await manifest.require((file) => dirname(file) === own);
  }
}

/**
 * Manifests that may list an adapter: that of its study, and while the study goes on that of the task which trained
 * it.
 *
 * @returns paths within the study.
 */
export function manifestsOf(study: string, adapter: string): string[] {
  return [MANIFEST, join(within(study, adapter).slice(FILES.adapters.length + 1), MANIFEST)];
}

/** Path of an adapter within its study. */
function within(study: string, adapter: string): string {
  return unix(resolve(adapter).slice(resolve(study).length + 1));
}

/** Says that a study has no manifest. */
export function unverifiable(folder: string): string {
  return `${folder} has no ${MANIFEST}, as studies of earlier versions have none: nobody can tell ` +
    `whether its files were changed.`;
}

/** A path as it is listed on every system. */
function unix(path: string): string {
  return path.split(sep).join("/");
}

/** Part and row that a file belongs to, as a path; null for a file of the whole study. */
export function rowOf(path: string): string | null {
  const folders = dirname(path).split("/");
  if (folders[0] === FILES.adapters || folders[0] === FILES.events) folders.shift();
  return folders.length === 0 || folders[0] === "." ||
      folders[0] === "report"
    ? null
    : folders.join("/");
}

/** A file with its row. */
function named(path: string): string {
  const row = rowOf(path);
  return row === null ? excerpt(path) : `${excerpt(path)} (row ${excerpt(row)})`;
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path) !== null;
  } catch {
    return false;
  }
}

/** Text of `manifest.json`. */
export function manifestJson({ accepted, files, pending }: Listing): string {
  const sorted = (files: Listing["files"]) =>
    Object.fromEntries(Object.entries(files).sort(([a], [b]) => a < b ? -1 : 1));
  const content = { accepted, files: sorted(files), pending: sorted(pending) };
  return JSON.stringify({ ...content, checksum: checksumOf(content) }, null, 1) + "\n";
}

function checksumOf({ accepted, files, pending }: Listing): string {
  return createHash("sha256").update(JSON.stringify([accepted, files, pending])).digest("hex");
}

/** Paths of all files below a folder, within it. */
async function filesBelow(folder: string, within = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(folder, within))) {
    const path = within === "" ? name : `${within}/${name}`;
    if (isDirectory) found.push(...await filesBelow(folder, path));
    else found.push(path);
  }
  return found;
}

/**
 * Refuses a folder that has none of the files by which a study is known, before anything is written there.
 *
 * @throws {InputError} if it is not that of a study.
 */
export async function requireStudy(folder: string): Promise<void> {
  const known = [FILES.table, PLAN, MANIFEST].map((file) => Deno.stat(join(folder, file)));
  const found = await Promise.allSettled(known);
  if (!found.some(({ status }) => status === "fulfilled")) throw notAStudy(folder);
}
