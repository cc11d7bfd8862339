import { TEXTURE_PADDING, TEXTURE_WIDTH } from "../../kernels/compose.ts";
import { contentText, type PooledBuffer } from "./buffer_pool.ts";
import type { DeviceErrors } from "./device_errors.ts";

/** A texture for staging. */
export interface StagingTexture {
  /** Texels of four f32, {@linkcode TEXTURE_WIDTH} to a row before its padding, in the order of the buffer. */
  readonly texture: GPUTexture;
  /** Buffer that was copied to it last. */
  buffer: PooledBuffer | undefined;
  /** Version of the buffer when it was copied. */
  version: number;
}

/** A buffer that a dispatch reads from a texture, with that texture. */
export interface StagedBuffer {
  /** The buffer. */
  readonly buffer: PooledBuffer;
  /** The texture that it is copied to. */
  readonly place: StagingTexture;
  /** Arguments of the copies: whole rows, and the rest of the last one. */
  readonly copies: readonly Parameters<GPUCommandEncoder["copyBufferToTexture"]>[];
}

/** Bytes of a texel of four f32. */
const TEXEL = 16;

/** Bytes that the textures of single buffers may take. */
const OWN_BYTES = 2 ** 28;

/**
 * Textures into which buffers are copied before kernels read them again and again. With llvmpipe a
 * texel costs a tenth of a vec4 from a storage buffer (kernels/compose.ts says why), and the copy runs at
 * 7 GB/s, so that copying pays even for a buffer that is read once.
 *
 * There is one texture for each binding, as large as the largest buffer that was staged there: its
 * content is read by the very next dispatch, and the next copy waits for that. A dispatch that was
 * prepared before a texture grew goes on with the smaller one. A copy ends the compute pass, which costs
 * the host more than all else of a dispatch: with wgpu 13 µs a pass at 300 buffers on the device and
 * 32 µs at 1,800, beside the copy's own 5 to 10 µs. So a buffer that would be copied again unchanged,
 * such as a frozen weight, gets a texture of its own while memory for that is left.
 */
export class Staging {
  readonly #device: GPUDevice;
  readonly #errors: DeviceErrors;
  readonly #shared = new Map<number, StagingTexture>();
  readonly #own = new Map<PooledBuffer, StagingTexture>();
  /** Version of each buffer when it was copied last. */
  readonly #copied = new Map<PooledBuffer, number>();
  #ownBytes = 0;

  /** Makes no texture yet; `errors` takes, later, that the device had no memory for one. */
  constructor(device: GPUDevice, errors: DeviceErrors) {
    this.#device = device;
    this.#errors = errors;
  }

  /** Bytes of the textures. */
  get bytes(): number {
    let bytes = this.#ownBytes;
    for (const { texture } of this.#shared.values()) bytes += bytesOf(texture.height);
    return bytes;
  }

  /** The buffer's own texture, or that of a binding with room for the buffer. */
  place(buffer: PooledBuffer, binding: number): StagedBuffer {
    const rows = rowsOf(buffer);
    let place = this.#own.get(buffer) ?? this.#shared.get(binding);
    if (!place || place.texture.height < rows) {
      place = this.#make(2 ** Math.ceil(Math.log2(rows)), buffer);
      this.#shared.set(binding, place);
    }
    return { buffer, place, copies: copiesOf(buffer, place.texture) };
  }

  /**
   * True if the cached bind group is stale: the buffer has since been staged to its own texture, because
   * it was copied before and has not changed, but its shared texture was needed for another.
   */
  settles(staged: StagedBuffer): boolean {
    const { buffer, place } = staged;
    const own = this.#own.get(buffer);
    if (own) return own !== place;
    if (this.#copied.get(buffer) !== buffer.version || Staging.isCurrent(staged)) return false;
    const rows = rowsOf(buffer);
    if (this.#ownBytes + bytesOf(rows) > OWN_BYTES) return false;
    this.#own.set(buffer, this.#make(rows, buffer));
    this.#ownBytes += bytesOf(rows);
    return true;
  }

  /** Frees the textures of single buffers. No command that uses them may be left unsubmitted. */
  trim(): void {
    for (const { texture } of this.#own.values()) texture.destroy();
    this.#own.clear();
    this.#copied.clear();
    this.#ownBytes = 0;
  }

  /** True if the texture holds the buffer's present content. */
  static isCurrent({ buffer, place }: StagedBuffer): boolean {
    return place.buffer === buffer && place.version === buffer.version;
  }

  /** Encodes the copy of a whole buffer to its texture, between passes. */
  copy(encoder: GPUCommandEncoder, { buffer, place, copies }: StagedBuffer): void {
    for (const [source, destination, size] of copies) {
      encoder.copyBufferToTexture(source, destination, size);
    }
    place.buffer = buffer;
    place.version = buffer.version;
    this.#copied.set(buffer, buffer.version);
  }

  /**
   * A texture of at least `rows` rows for a buffer. Their number is odd and at least 3, as far as the device allows
   * it: llvmpipe compiles every kernel again for each combination of textures whose height is a power of two and
   * others.
   */
  #make(rows: number, { shape, use }: PooledBuffer): StagingTexture {
    const height = Math.min(Math.max(3, rows | 1), this.#device.limits.maxTextureDimension2D);
    const held = this.bytes;
    const texture = this.#errors.allocate(
      () => ({ size: bytesOf(height), held, content: `a texture of ${contentText(shape, use)}` }),
      () =>
        this.#device.createTexture({
          size: [TEXTURE_WIDTH + TEXTURE_PADDING, height],
          format: "rgba32float",
          usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
        }),
    );
    return { texture, buffer: undefined, version: 0 };
  }
}

function rowsOf({ size }: PooledBuffer): number {
  return Math.ceil(size / TEXEL / TEXTURE_WIDTH);
}

function bytesOf(rows: number): number {
  return rows * (TEXTURE_WIDTH + TEXTURE_PADDING) * TEXEL;
}

function copiesOf({ buffer, size }: PooledBuffer, texture: GPUTexture): StagedBuffer["copies"] {
  const texels = size / TEXEL;
  const rows = Math.floor(texels / TEXTURE_WIDTH);
  const rest = texels % TEXTURE_WIDTH;
  const bytesPerRow = TEXTURE_WIDTH * TEXEL;
  const copies: Parameters<GPUCommandEncoder["copyBufferToTexture"]>[] = [];
  if (rows > 0) copies.push([{ buffer, bytesPerRow }, { texture }, [TEXTURE_WIDTH, rows]]);
  if (rest > 0) {
    copies.push([
      { buffer, bytesPerRow, offset: rows * bytesPerRow },
      { texture, origin: [0, rows] },
      [rest, 1],
    ]);
  }
  return copies;
}
