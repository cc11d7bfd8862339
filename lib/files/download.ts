import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { InputError } from "../errors.ts";
import { cacheDir, makeFolder, syncFolder } from "../fs.ts";
import type { Checkpoint } from "../sam/models.ts";

/** How a download goes. */
export interface DownloadOptions {
  /** Where the file goes. Default: `weights` in the cache. */
  readonly folder?: string;
  /** Where the file is fetched from instead, such as a mirror. */
  readonly baseUrl?: string;
  /** Told the bytes that are there and the bytes in all, after each piece. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Opens the unfinished file for writing. Default `Deno.open`. */
  readonly open?: (
    path: string,
    options: Deno.OpenOptions,
  ) => Promise<Pick<Deno.FsFile, "write" | "sync" | "close">>;
}

/** Broken connections in a row that brought nothing new. */
const FRUITLESS_ATTEMPTS = 3;

/** Where the checkpoint lies, or would lie, on this machine. */
export function checkpointPath(
  checkpoint: Checkpoint,
  options: { folder?: string } = {},
): string {
  return join(options.folder ?? cacheDir("weights"), checkpoint.file);
}

/** SHA-256 of a file, read piece by piece. */
async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const piece = new Uint8Array(2 ** 20);
  for (let count; (count = await file.read(piece)) !== null;) hash.update(piece.subarray(0, count));
  return hash.digest("hex");
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

/** Asks for the bytes from `from` on; null if the server says that there are none. */
async function request(url: string, from: number): Promise<Answer | null> {
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (from > 0) headers.range = `bytes=${from}-`;
  const response = await fetch(url, { headers });
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

/**
 * Brings a published checkpoint to this machine and returns its path. A file that is there already
 * and has the right SHA-256 is not fetched again. What a broken download left is continued, where the
 * server knows ranges; nothing bears the file's name before its SHA-256 was found right.
 *
 * @throws {InputError} if the server cannot be reached or has no such file, the connection keeps
 * breaking, the disk is full, or the file is not the published one.
 */
export async function downloadCheckpoint(
  checkpoint: Checkpoint,
  options: DownloadOptions = {},
): Promise<string> {
  const { baseUrl = checkpoint.baseUrl, onProgress, open = Deno.open } = options;
  const path = checkpointPath(checkpoint, options);
  const url = new URL(checkpoint.file, baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`).href;
  const unfinished = `${path}.part`;
  const unwritable = (error: unknown): InputError =>
    new InputError(
      `cannot write ${unfinished} (${reasonOf(error)}): make room or choose another folder, then ` +
        `run this again to continue`,
    );
  await makeFolder(dirname(path)).catch((error) => {
    throw unwritable(error);
  });
  const cached = await sizeOf(path);
  if (cached > 0 && await sha256(path) === checkpoint.sha256) {
    onProgress?.(cached, cached);
    return path;
  }

  /** Fetches until the unfinished file has all its bytes. */
  const complete = async (): Promise<void> => {
    let most = await sizeOf(unfinished);
    for (let failures = 0;;) {
      let interruption: unknown;
      try {
        const answer = await request(url, await sizeOf(unfinished));
        if (!answer) return; // all of it is there; its SHA-256 tells whether it is sound
        let { from: done } = answer;
        const file = await open(unfinished, {
          write: true,
          create: true,
          append: done > 0,
          truncate: done === 0,
        }).catch((error) => {
          throw unwritable(error);
        });
        try {
          for await (const piece of answer.body) {
            for (let at = 0; at < piece.length;) {
              at += await file.write(piece.subarray(at)).catch((error) => {
                throw unwritable(error);
              });
            }
            done += piece.length;
            onProgress?.(done, answer.total);
          }
          await file.sync().catch((error) => {
            throw unwritable(error);
          });
        } finally {
          file.close();
        }
        // A connection can end early without an error.
        if (!(done < answer.total)) return;
        interruption = new Error(`${done} of ${answer.total} bytes arrived`);
      } catch (error) {
        if (error instanceof InputError) throw error;
        interruption = error;
      }
      const size = await sizeOf(unfinished);
      failures = size > most ? 0 : failures + 1;
      most = Math.max(most, size);
      if (failures === FRUITLESS_ATTEMPTS) {
        throw new InputError(
          `the download of ${url} broke off (${
            reasonOf(interruption)
          }): check the network and run ` +
            `this again to continue, or put the file at ${path} yourself`,
        );
      }
    }
  };

  for (;;) {
    const resumed = await sizeOf(unfinished) > 0;
    await complete();
    const digest = await sha256(unfinished);
    if (digest === checkpoint.sha256) break;
    await Deno.remove(unfinished);
    if (resumed) continue; // what was left may have been of another file: once more from the start
    throw new InputError(
      `${url} is not the published ${checkpoint.file} (SHA-256 ${digest} instead of ` +
        `${checkpoint.sha256}), and was removed: fetch it from another address`,
    );
  }
  await Deno.rename(unfinished, path);
  await syncFolder(dirname(path));
  return path;
}
