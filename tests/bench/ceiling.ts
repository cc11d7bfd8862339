import { join } from "node:path";
import type { GpuAdapter } from "../../lib/gpu/gpu_adapter.ts";
import type { Timed } from "./measure.ts";
import { Peer } from "./peers/process.ts";
import type { Answer, Product } from "./peers/serve.ts";

const PEERS = join(import.meta.dirname!, "peers");

/**
 * Starts products by a program of the folder peers under Deno, with the packages of that folder.
 *
 * @throws {Error} if it does not run here.
 */
export async function denoPeer(file: string, target: string): Promise<Peer> {
  const config = `--config=${join(PEERS, "deno.json")}`;
  const peer = new Peer(Deno.execPath(), ["run", "-A", config, join(PEERS, file), target], {
    threaded: target === "node",
  });
  await peer.read();
  return peer;
}

/**
 * Starts products by NumPy's BLAS or PyTorch on the processor, or by PyTorch on a CUDA device.
 *
 * @throws {Error} if it does not run here.
 */
export async function blasPeer(
  python: string,
  library: "numpy" | "torch" | "cuda",
): Promise<{ peer: Peer; name: string }> {
  const peer = new Peer(python, [join(PEERS, "blas.py"), library, String(threads())], {
    threaded: true,
  });
  const { name } = await peer.read<{ name: string }>();
  return { peer, name };
}

/** Threads of every peer that has them: one for each core. */
export function threads(): number {
  return navigator.hardwareConcurrency;
}

/** Speed of a library made for this hardware, as the ceiling of our matrix products. */
export class Ceiling implements Disposable {
  /** The library and its version. */
  readonly name: string;
  readonly #peer: Peer;

  private constructor(name: string, peer: Peer) {
    this.name = name;
    this.#peer = peer;
  }

  /**
   * Starts the library: for a CPU driver NumPy's BLAS, or without Python ONNX Runtime for Node.js; for
   * a GPU cuBLAS under PyTorch. Null, with a warning, where there is none.
   */
  static async open(info: GpuAdapter, python: string | undefined): Promise<Ceiling | null> {
    try {
      if (python) {
        const { name, peer } = await blasPeer(python, info.type === "CPU" ? "numpy" : "cuda");
        return new Ceiling(name, peer);
      }
      if (info.type === "GPU") return null;
      return new Ceiling("onnxruntime-node", await denoPeer("ort.ts", "node"));
    } catch (error) {
      console.error(`warning: no ceiling was measured: ${(error as Error).message}`);
      return null;
    }
  }

  /** A product, to be timed in turns with ours. */
  timed(product: Product): Timed {
    return async (repeats) => {
      const line = JSON.stringify({ ...product, repeats });
      return (await this.#peer.ask<Answer>(line)).milliseconds;
    };
  }

  /** Ends the library's process. */
  [Symbol.dispose](): void {
    this.#peer[Symbol.dispose]();
  }
}
