/**
 * Worker that gives signs of life for a lease, while the main thread compiles kernels and hears nothing.
 *
 * @module
 */
/// <reference lib="deno.worker" />

/** Message to the worker. */
export interface Keeping {
  /** File of the lease. */
  readonly path: string;
  /** Milliseconds between signs of life. */
  readonly every: number;
}

self.onmessage = ({ data: { path, every } }: MessageEvent<Keeping>) => {
  const beat = () => {
    try {
      const now = new Date();
      Deno.utimeSync(path, now, now);
    } catch {
      // It is gone: whoever has the lease finds out before it writes.
    }
  };
  beat();
  setInterval(beat, every);
};
