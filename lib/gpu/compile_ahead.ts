import type { Place } from "../../kernels/compose.ts";

/** A kernel as another device compiles it. */
export interface Shader {
  /** Name of the kernel. */
  readonly name: string;
  /** WGSL with its constants set. */
  readonly code: string;
  /** Kind of each binding. */
  readonly places: readonly Place[];
}

/** Message to the thread. */
export interface ShaderAhead {
  /** Kernel that the device will come to after all those before. */
  readonly shader: Shader;
  /** One number for each name of {@linkcode FLAGS}. */
  readonly flags: SharedArrayBuffer;
}

/** Places of what both threads know: 1 while a kernel is compiled, to ask for an end, and once the thread has ended. */
export const FLAGS = { busy: 0, stop: 1, ended: 2 } as const;

/** Characters of WGSL from which a kernel takes a CPU driver a tenth of a second or more to compile. */
const LONG = 12_000;

/** Milliseconds of a submit with one such kernel from which it was compiled, and not read from the driver's cache. */
const COLD_MILLISECONDS = 150;

/** Milliseconds that a kernel takes to compile at most. */
const COMPILE_MILLISECONDS = 5_000;

/** Threads at most: each has a device, and the last kernels alone take as long as they take. */
const MAXIMUM_THREADS = 3;

/**
 * Compiles the kernels that have been encoded while the device is still at the first of them. Mesa's CPU driver compiles
 * a kernel when it first runs it, one after the other on one thread, but keeps what it compiled on disk: threads with
 * devices of their own fill that cache from the other end, and meet the device in the middle. The first long kernel shows
 * if that is of use: where the cache has it already, no thread is made.
 */
export class CompileAhead implements Disposable {
  #state: "unknown" | "asked" | "cold" | "warm" = "unknown";
  #threads: CompileThread[] = [];
  #added = 0;

  /** Watches the end of the program. */
  constructor() {
    globalThis.addEventListener("unload", this.#stop);
  }

  /** True if it is of use, so that much should be encoded before it is submitted. */
  get isCold(): boolean {
    return this.#state === "cold";
  }

  /** True if the dispatch that comes should be submitted for {@linkcode judge}. */
  get isAsked(): boolean {
    return this.#state === "asked";
  }

  /** Takes a kernel that the device will need. */
  add(shader: Shader): void {
    if (this.#state === "unknown" && shader.code.length >= LONG) this.#state = "asked";
    if (this.#state === "cold") this.#threads[this.#added++ % this.#threads.length].add(shader);
  }

  /** Finds out from the time that a submit takes whether the driver compiled what it runs. */
  judge(wait: () => void): void {
    const start = performance.now();
    wait();
    this.#state = performance.now() - start >= COLD_MILLISECONDS ? "cold" : "warm";
    if (!this.isCold) return;
    const others = navigator.hardwareConcurrency - 1; // the device has one
    const length = Math.max(1, Math.min(others, MAXIMUM_THREADS));
    this.#threads = Array.from({ length }, () => new CompileThread());
  }

  readonly #stop = (): void => {
    for (const thread of this.#threads) thread[Symbol.dispose]();
  };

  /** Ends the threads. */
  [Symbol.dispose](): void {
    this.#stop();
    this.#state = "warm";
    globalThis.removeEventListener("unload", this.#stop);
  }
}

/** One of the threads: it ends itself when it has nothing to do for a while, and begins anew when it has. */
class CompileThread implements Disposable {
  readonly #flags = new Int32Array(new SharedArrayBuffer(4 * Object.keys(FLAGS).length));
  #worker: Worker | undefined = this.#start();
  #isBroken = false;

  /** Has the thread compile a kernel. */
  add(shader: Shader): void {
    if (this.#isBroken) return; // it is help, no more: the device compiles all itself
    if (this.#flags[FLAGS.ended] === 1) this.#worker = undefined;
    this.#worker ??= this.#start();
    const flags = this.#flags.buffer as SharedArrayBuffer;
    this.#worker.postMessage({ shader, flags } satisfies ShaderAhead);
  }

  #start(): Worker {
    this.#flags.fill(0);
    const url = new URL("./compile_worker.ts", import.meta.url);
    const worker = new Worker(url, { type: "module" });
    worker.onerror = (event) => {
      event.preventDefault();
      this.#isBroken = true;
    };
    return worker;
  }

  /** Ends the thread between two kernels: a program that ends while LLVM compiles may crash. */
  [Symbol.dispose](): void {
    Atomics.store(this.#flags, FLAGS.stop, 1);
    Atomics.wait(this.#flags, FLAGS.busy, 1, COMPILE_MILLISECONDS);
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}
