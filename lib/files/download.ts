import { basename, dirname, join } from "node:path";
import { InputError } from "../errors.ts";
import { cacheDir, makeFolder, sha256, syncFolder, writeFailure } from "../fs.ts";
import type { Checkpoint } from "../sam/models.ts";

/** Options of {@linkcode downloadCheckpoint}. */
export interface DownloadOptions {
  /** Folder of the file. Default: `weights` in the cache. */
  readonly folder?: string;
  /** URL of the folder to fetch from instead, such as a mirror's. */
  readonly baseUrl?: string;
  /** Receives the bytes that are there and the bytes in all, after each piece. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Milliseconds without a byte after which a connection counts as broken. Default one minute. */
  readonly patience?: number;
  /** Opens the unfinished file for writing. Default `Deno.open`. */
  readonly open?: (
    path: string,
    options: Deno.OpenOptions,
  ) => Promise<Pick<Deno.FsFile, "write" | "sync" | "close">>;
}

/** Broken connections in a row that brought nothing new. */
const FRUITLESS_ATTEMPTS = 3;

/** Milliseconds without a byte after which a connection counts as broken. */
const PATIENCE = 60_000;

/** Path of a checkpoint on this machine, fetched or not. */
export function checkpointPath(
  checkpoint: Checkpoint,
  options: { folder?: string } = {},
): string {
  return join(options.folder ?? cacheDir("weights"), checkpoint.file);
}

/** Bytes of a file, 0 if there is none. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A response that continues the file at `from`, or begins it anew. */
interface Answer {
  readonly body: ReadableStream<Uint8Array>;
  readonly from: number;
  /** Bytes of the whole file; NaN if the server does not say. */
  readonly total: number;
}

/** Breaks a connection that brings nothing for a while. */
class Watch implements Disposable {
  readonly #controller = new AbortController();
  readonly #patience: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(patience: number) {
    this.#patience = patience;
    this.reset();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Notes that something came. */
  reset(): void {
    clearTimeout(this.#timer);
    const reason = new Error(`nothing came for ${this.#patience / 1000} s`);
    this.#timer = setTimeout(() => this.#controller.abort(reason), this.#patience);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** Asks for the bytes from `from` on; null if the server says that there are none. */
async function request(
  url: string,
  { from, signal }: { from: number; signal: AbortSignal },
): Promise<Answer | null> {
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (from > 0) headers.range = `bytes=${from}-`;
  const response = await fetch(url, { headers, signal });
  if (response.status === 416 && from > 0) {
    await response.body?.cancel();
    return null;
  }
  if (!response.ok || !response.body) {
    await response.body?.cancel();
    throw new InputError(
      `${url} answers ${response.status} ${response.statusText}: check the address, or try again later`,
    );
  }
  const range = response.headers.get("content-range")?.match(/^bytes (\d+)-\d+\/(\d+)$/);
  if (response.status === 206 && Number(range?.[1]) === from) {
    return { body: response.body, from, total: Number(range![2]) };
  }
  const length = response.headers.get("content-length");
  return { body: response.body, from: 0, total: length === null ? NaN : Number(length) };
}

/** A file that is fetched, until it is whole. */
interface Transfer {
  readonly url: string;
  /** Path of the unfinished file. */
  readonly unfinished: string;
  /** Path that the file gets when it is whole, for messages. */
  readonly path: string;
  /** Bytes of the whole file. */
  readonly bytes: number;
}

/** Refuses what has another length than the published file, and keeps nothing of it. */
async function refuseLength(transfer: Transfer, length: string): Promise<never> {
  const { url, unfinished, path, bytes } = transfer;
  await Deno.remove(unfinished).catch(() => {});
  throw new InputError(
    `${url} is not the published ${
      basename(path)
    } (${length} bytes instead of ${bytes}): fetch it ` +
      `from another address`,
  );
}

function unwritable({ unfinished }: Transfer): (error: unknown) => never {
  return (error) => {
    throw new InputError(
      `cannot write ${unfinished} (${writeFailure(error).reason}): make room or choose another ` +
        `folder, that of the cache by SAMLORA_CACHE, then run this again to continue`,
    );
  };
}

/** Appends the pieces of an answer to the unfinished file. */
async function receive(
  { body, from, total }: Answer,
  transfer: Transfer,
  { onProgress, open = Deno.open, watch }: DownloadOptions & { readonly watch: Watch },
): Promise<void> {
  const refuse = unwritable(transfer);
  if (!Number.isNaN(total) && total !== transfer.bytes) {
    await body.cancel();
    await refuseLength(transfer, String(total));
  }
  let done = from;
  const place = { write: true, create: true, append: done > 0, truncate: done === 0 };
  const file = await open(transfer.unfinished, place).catch(refuse);
  try {
    for await (const piece of body) {
      watch.reset();
      if (done + piece.length > transfer.bytes) await refuseLength(transfer, "more");
      for (let at = 0; at < piece.length;) {
        at += await file.write(piece.subarray(at)).catch(refuse);
      }
      done += piece.length;
      onProgress?.(done, total);
    }
    await file.sync().catch(refuse);
  } finally {
    file.close();
  }
  // A connection can end early without an error.
  if (done < total) throw new Error(`${done} of ${total} bytes arrived`);
}

/** Fetches until the unfinished file has all its bytes. */
async function complete(transfer: Transfer, options: DownloadOptions): Promise<void> {
  const { url, unfinished, path } = transfer;
  let most = await sizeOf(unfinished);
  for (let failures = 0;;) {
    let interruption: unknown;
    try {
      using watch = new Watch(options.patience ?? PATIENCE);
      const from = await sizeOf(unfinished);
      const answer = await request(url, { from, signal: watch.signal });
      // Without an answer all of it is there; its SHA-256 tells if it is sound.
      if (answer) await receive(answer, transfer, { ...options, watch });
      return;
    } catch (error) {
      if (error instanceof InputError) throw error;
      interruption = error;
    }
    const size = await sizeOf(unfinished);
    failures = size > most ? 0 : failures + 1;
    most = Math.max(most, size);
    if (failures < FRUITLESS_ATTEMPTS) continue;
    throw new InputError(
      `the download of ${url} broke off (${reasonOf(interruption)}): check the network and run ` +
        `this again to continue, or put the file at ${path} yourself`,
    );
  }
}

/**
 * Brings a published checkpoint to this machine and returns its path. A file that is there already
 * and has the right SHA-256 is not fetched again. A broken download is continued, if the server knows
 * ranges; nothing bears the file's name before its SHA-256 was found right.
 *
 * @throws {InputError} if the server cannot be reached or has no such file, the connection keeps
 * breaking or brings nothing, the disk is full, or the file is not the published one.
 */
export async function downloadCheckpoint(
  checkpoint: Checkpoint,
  options: DownloadOptions = {},
): Promise<string> {
  const { baseUrl = checkpoint.baseUrl, onProgress } = options;
  const path = checkpointPath(checkpoint, options);
  const url = new URL(checkpoint.file, baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`).href;
  const unfinished = `${path}.part`;
  const transfer: Transfer = { url, unfinished, path, bytes: checkpoint.bytes };
  await makeFolder(dirname(path)).catch(unwritable(transfer));
  const cached = await sizeOf(path);
  if (cached > 0 && await sha256(path) === checkpoint.sha256) {
    onProgress?.(cached, cached);
    return path;
  }
  for (;;) {
    const resumed = await sizeOf(unfinished) > 0;
    await complete(transfer, options);
    const digest = await sha256(unfinished);
    if (digest === checkpoint.sha256) break;
    await Deno.remove(unfinished);
    if (resumed) continue; // the earlier part may be of another file: once more from the start
    throw new InputError(
      `${url} is not the published ${checkpoint.file} (SHA-256 ${digest} instead of ` +
        `${checkpoint.sha256}), and was removed: fetch it from another address`,
    );
  }
  await Deno.rename(unfinished, path);
  await syncFolder(dirname(path));
  return path;
}
