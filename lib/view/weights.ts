/**
 * Weights of the page's own server, kept by the browser.
 *
 * @module
 */
import { bytesOf } from "../byte_source.ts";
import { InputError } from "../errors.ts";
import { openWeights } from "../formats/weights.ts";
import { hostWeights, readWeights, type WeightSource } from "../nn/weight_source.ts";
import { MODELS } from "../sam/models.ts";
import { packagedWeights, requirePublished } from "../sam/packaged.ts";
import type { ServedFile, Site } from "./protocol.ts";

/** Name of the browser's cache. */
const CACHE = "samlora-weights";

/** The browser's cache; null where it has none, as in a page that was not served safely. */
async function openCache(): Promise<Cache | null> {
  return await globalThis.caches?.open(CACHE).catch(() => null) ?? null;
}

/**
 * Fetches a file of the page's server.
 *
 * @param onBytes Called with the bytes that have come so far.
 * @throws {InputError} if it does not come.
 */
export async function fetchFile(
  { url, name }: ServedFile,
  onBytes: (bytes: number) => void = () => {},
): Promise<Uint8Array<ArrayBuffer>> {
  const fail = (reason: string): never => {
    throw new InputError(
      `${name} does not come from the page's server (${reason}): start ./run view again, or put the ` +
        `whole folder on the server, and reload the page`,
    );
  };
  const response = await fetch(url).catch((error) => fail(String(error.message ?? error)));
  if (!response.ok) return fail(`status ${response.status}`);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  try {
    for await (const part of response.body!) {
      parts.push(part);
      onBytes(bytes += part.length);
    }
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** A file of weights, from the cache where that has it whole. */
async function fetchWeights(
  file: Site["weights"][number],
  onBytes: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const cache = await openCache();
  const key = `https://weights.invalid/${file.sha256}`; // of this origin's cache, whatever its folder
  const remedy = "the server has another file; build the page again, and reload it";
  const kept = await cache?.match(key);
  if (kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    const isWhole = await requirePublished(bytes, file, { name: file.name, remedy })
      .then(() => true, () => false);
    onBytes(bytes.length);
    if (isWhole) return bytes;
    await cache!.delete(key);
  }
  const bytes = await fetchFile(file, onBytes);
  await requirePublished(bytes, file, { name: file.name, remedy });
  // A full disk is no reason not to go on.
  await cache?.put(key, new Response(bytes)).catch(() => {});
  return bytes;
}

/**
 * Loads the weights that a page was built with, and checks their hashes.
 *
 * @param onShare Called with the share that is there.
 * @returns a function that opens them, as often as it is asked.
 * @throws {InputError} if they do not come, or are not those.
 */
export async function loadWeights(
  { weights, model }: Pick<Site, "weights" | "model">,
  onShare: (share: number) => void,
): Promise<() => Promise<WeightSource>> {
  const total = weights.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = 0;
  const files: Uint8Array<ArrayBuffer>[] = [];
  for (const file of weights) {
    files.push(await fetchWeights(file, (bytes) => onShare(Math.min(1, (before + bytes) / total))));
    before += file.bytes;
  }
  const { packaged } = MODELS[model];
  if (weights.length === 1 || !packaged) {
    const [bytes] = files;
    return () => openWeights(bytesOf(bytes, { source: weights[0].name }));
  }
  const [encoder, decoder] = files;
  const source = await packagedWeights(
    packaged,
    (file) => Promise.resolve(file === packaged.encoder ? encoder : decoder),
  );
  const state = await readWeights(source);
  return () => Promise.resolve(hostWeights(state, source.source));
}
