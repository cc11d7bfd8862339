import type { Gpu } from "../gpu/gpu.ts";
import { ActivationFiles } from "./activation_files.ts";
import type { StoredActivations } from "./stored_activations.ts";
import type { Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Bytes of device memory that activations may take while they wait to be written to disk. */
const WAITING_BYTES = 2 ** 28;

/** Options of {@linkcode ActivationCache}. */
export interface ActivationCacheOptions {
  /** Bytes of device memory the cache may take. Default 1 GiB. */
  readonly budget?: number;
  /** Bytes of disk the cache may take for what device memory has no room for. Default 0. */
  readonly diskBudget?: number;
  /** Folder for them. Default: `activations` in the cache folder. */
  readonly folder?: string;
  /** Activations that another process has computed, as far as they are the same; default none. */
  readonly stored?: StoredActivations | null;
}

/**
 * Activations of images by key, in device memory and beyond its budget on disk.
 *
 * Activations stay once they are remembered: images come round once an epoch, and a cache that makes
 * room for the latest would have thrown out each before its turn. Models one after the other may share a
 * cache, as long as they state that their activations are the same.
 */
export class ActivationCache implements Disposable {
  readonly #options: ActivationCacheOptions;
  readonly #budget: number;
  #files: ActivationFiles;
  #content: string | null = null;
  /** Number of stages after which an encoder cuts. */
  #cut = 0;
  /** Activations in memory, in front of a cut's stage. */
  readonly #cache = new Map<number, Map<string, Tensor>>();
  readonly #waiting = new Map<string, Tensor>();
  /** Shape of one image's activation at each cut, [1, ...]. */
  readonly #shapes = new Map<number, Shape>();
  #bytes = 0;
  #waitingBytes = 0;

  /** Makes an empty cache. */
  constructor(options: ActivationCacheOptions = {}) {
    this.#options = options;
    this.#budget = options.budget ?? 2 ** 30;
    this.#files = this.#openFiles();
  }

  /** Bytes of device memory that the cache holds, but for what waits for {@linkcode settle}. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that the cache holds on disk. */
  get diskBytes(): number {
    return this.#files.bytes;
  }

  /** All that the activations depend on, as {@linkcode keep} was told. */
  get content(): string {
    return JSON.stringify([this.#content, this.#cut]);
  }

  /** Shape of one image's activation, [1, ...]; empty as long as nothing was remembered. */
  get shape(): Shape {
    return this.#shapes.get(this.#cut) ?? [];
  }

  /**
   * Names the activations that are kept from now on; those of anything else are dropped.
   *
   * @param content All that activations of a key depend on beside the cut: equal contents mean equal activations.
   * @param cuts.own Number of stages in front of the activations that are asked for.
   * @param cuts.earlier That of a later encoder's, for which activations are kept on the way.
   */
  keep(content: string, { own, earlier }: { own: number; earlier?: number }): void {
    if (content !== this.#content) this.#drop();
    for (const cut of this.#cache.keys()) if (cut !== own && cut !== earlier) this.#dropCut(cut);
    if (own !== this.#cut) this.#dropFiles();
    this.#content = content;
    this.#cut = own;
    const stored = this.#stored;
    if (stored && (stored.cut === own || stored.cut === earlier)) {
      this.#shapes.set(stored.cut, stored.shape);
    }
  }

  /** Activations of another process that are the same as those that are kept. */
  get #stored(): StoredActivations | null {
    const { stored } = this.#options;
    return stored && stored.content === this.#content ? stored : null;
  }

  /**
   * The activation of a key in front of a cut that another process has computed, as it was stored; null if
   * there is none.
   *
   * @param cut Number of stages in front of it; by default that of the activations that are asked for.
   */
  readStored(key: string, cut: number = this.#cut): ArrayBuffer | null {
    const stored = this.#stored;
    return stored?.cut === cut ? stored.read(key)?.buffer ?? null : null;
  }

  /** Shape of one image's activation that another process has computed, [1, ...]. */
  get storedShape(): Shape {
    return this.#stored?.shape ?? [];
  }

  /** Keeps an activation that was read, if device memory has room for it. */
  rememberStored(key: string, stored: Tensor): void {
    if (this.#bytes + 4 * stored.size <= this.#budget) this.#add(this.#cut, { key, stored });
  }

  /** Keeps an activation, stored in whatever way, if there is room for it. */
  remember(key: string, stored: Tensor, shape: Shape): void {
    this.#shapes.set(this.#cut, shape);
    const bytes = 4 * stored.size;
    if (this.#bytes + bytes <= this.#budget) {
      this.#add(this.#cut, { key, stored });
      return;
    }
    const waitingBytes = this.#waitingBytes + bytes;
    if (waitingBytes > WAITING_BYTES || !this.#files.hasRoom(waitingBytes)) return;
    this.#waiting.set(key, stored.alias());
    this.#waitingBytes = waitingBytes;
  }

  /** Keeps an activation at an earlier cut for a later encoder, if less than half of the memory is taken. */
  rememberEarlier(cut: number, key: string, stored: Tensor, shape: Shape): void {
    if (this.#cache.get(cut)?.has(key) || this.#bytes + 4 * stored.size > this.#budget / 2) return;
    this.#shapes.set(cut, shape);
    this.#add(cut, { key, stored });
  }

  #add(cut: number, { key, stored }: { key: string; stored: Tensor }): void {
    const own = this.#cache.get(cut) ?? new Map<string, Tensor>();
    this.#cache.set(cut, own.set(key, stored.alias()));
    this.#bytes += 4 * stored.size;
  }

  /** The activation of a key in device memory, as it was stored; null if it is not there. */
  find(key: string): Tensor | null {
    return this.#cache.get(this.#cut)?.get(key) ?? this.#waiting.get(key) ?? null;
  }

  /** The activation of a key on disk, as it was stored; null if it is not there. */
  readFile(key: string): ArrayBuffer | null {
    return this.#files.read(key)?.buffer ?? null;
  }

  /**
   * Writes activations to disk that memory had no room for. To be called between batches: until then they
   * activations wait in device memory, 256 MiB of them at most, and what goes beyond is not kept.
   */
  async settle(gpu: Gpu): Promise<void> {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    this.#waitingBytes = 0;
    try {
      const contents = await Promise.all(
        waiting.map(([, tensor]) => gpu.read(tensor.buffer, 4 * tensor.size)),
      );
      for (const [i, [key]] of waiting.entries()) {
        await this.#files.write(key, new Uint8Array(contents[i]));
      }
    } finally {
      for (const [, tensor] of waiting) tensor.dispose();
    }
  }

  /** Frees the cache, on disk too. */
  [Symbol.dispose](): void {
    this.#drop();
  }

  #drop(): void {
    for (const cut of this.#cache.keys()) this.#dropCut(cut);
    this.#dropFiles();
  }

  #dropCut(cut: number): void {
    for (const tensor of this.#cache.get(cut)!.values()) {
      this.#bytes -= 4 * tensor.size;
      tensor.dispose();
    }
    this.#cache.delete(cut);
    this.#shapes.delete(cut);
  }

  /** Drops what memory had no room for. */
  #dropFiles(): void {
    for (const tensor of this.#waiting.values()) tensor.dispose();
    this.#waiting.clear();
    this.#waitingBytes = 0;
    this.#files[Symbol.dispose]();
    this.#files = this.#openFiles(); // nothing is made on disk before there is something to write
  }

  #openFiles(): ActivationFiles {
    const { diskBudget = 0, folder } = this.#options;
    return new ActivationFiles({ budget: diskBudget, folder });
  }
}
