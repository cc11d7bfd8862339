import type { PooledBuffer } from "./buffer_pool.ts";

/** A buffer that a dispatch reads from a texture, and that texture. */
export interface StagedBuffer {
  /** What is copied before the dispatch. */
  readonly buffer: PooledBuffer;
  /** Texels of four f32, {@linkcode STAGING_WIDTH} to a row, in the order of the buffer. */
  readonly texture: GPUTexture;
}

/** Texels in a row of a staging texture; the shaders that read one know it as 2048. */
export const STAGING_WIDTH = 2048;

/** Bytes of a texel of four f32. */
const TEXEL = 16;

/**
 * Textures into which buffers are copied before kernels read them again and again. Under llvmpipe a
 * texel costs a third of a vec4 from a storage buffer, which is loaded lane by lane in a loop with a
 * bounds check, and the copy runs at 7 GB/s.
 *
 * There is one texture for each binding, as large as the largest buffer that was staged there: what it
 * holds is read by the very next dispatch, and the next copy waits for that. A dispatch that was prepared
 * before a texture grew goes on with the smaller one.
 */
export class Staging {
  readonly #device: GPUDevice;
  readonly #textures = new Map<number, GPUTexture>();

  /** Makes no texture yet. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Bytes of the textures. */
  get bytes(): number {
    let rows = 0;
    for (const { height } of this.#textures.values()) rows += height;
    return rows * STAGING_WIDTH * TEXEL;
  }

  /** The texture of a binding, with room for the buffer. */
  place(buffer: PooledBuffer, binding: number): StagedBuffer {
    const rows = Math.ceil(buffer.size / TEXEL / STAGING_WIDTH);
    let texture = this.#textures.get(binding);
    if (!texture || texture.height < rows) {
      const { maxTextureDimension2D } = this.#device.limits;
      texture = this.#device.createTexture({
        size: [STAGING_WIDTH, Math.min(2 ** Math.ceil(Math.log2(rows)), maxTextureDimension2D)],
        format: "rgba32float",
        usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
      });
      this.#textures.set(binding, texture);
    }
    return { buffer, texture };
  }

  /** Encodes the copy of a whole buffer to its texture, between passes. */
  static copy(encoder: GPUCommandEncoder, { buffer, texture }: StagedBuffer): void {
    const texels = buffer.size / TEXEL;
    const rows = Math.floor(texels / STAGING_WIDTH);
    const rest = texels % STAGING_WIDTH;
    const bytesPerRow = STAGING_WIDTH * TEXEL;
    const source = { buffer: buffer.buffer, bytesPerRow };
    if (rows > 0) encoder.copyBufferToTexture(source, { texture }, [STAGING_WIDTH, rows]);
    if (rest > 0) {
      encoder.copyBufferToTexture(
        { ...source, offset: rows * bytesPerRow },
        { texture, origin: [0, rows] },
        [rest, 1],
      );
    }
  }
}
