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

/** Message to a thread. */
export interface ShaderAhead {
  /** Kernel that the device will come to. */
  readonly shader: Shader;
  /** Its number among those that were given to all threads, from 1; 0 for the one that was judged. */
  readonly number: number;
  /** Milliseconds that the device took for it, if it was judged: from the driver's cache it takes less. */
  readonly took: number | null;
  /** Numbers that both sides see, by {@linkcode FLAGS}. */
  readonly flags: SharedArrayBuffer;
}

/** Places of the numbers that a thread and its owner share. */
export const FLAGS = {
  /** 1 while the thread compiles. */
  busy: 0,
  /** 1 to ask the thread to end. */
  stop: 1,
  /** 1 once the thread has ended by itself. */
  ended: 2,
  /** 1 if the thread is of no use: the driver's cache does not keep kernels, or something failed. */
  useless: 3,
  /** Number of the last kernel that the device has run: none up to it needs to be compiled. */
  passed: 4,
} as const;

/** Characters of WGSL from which a kernel takes LLVM a tenth of a second or more. */
const LONG = 12_000;

/** Milliseconds from which such a kernel was compiled: from the driver's cache it comes in 6 to 45. */
const COLD_MILLISECONDS = 75;

/** Threads at most: each has a device, and the last kernels alone take as long as they take. */
const MAXIMUM_THREADS = 3;

/** Milliseconds that the end of a program waits for a kernel. */
const PATIENCE = 5_000;

/**
 * Compiles the kernels that have been encoded while the device is still at the first of them. Mesa's CPU driver compiles
 * a kernel when it first runs it, one after the other on one thread, but keeps what it compiled on disk: threads with
 * devices of their own fill that cache from the other end, and meet the device in the middle. The first long kernel shows
 * if that is of use: if the cache has it already no thread is made, and if the cache does not keep it the threads end.
 */
export class CompileAhead implements Disposable {
  #state: "unjudged" | "cold" | "off" = "unjudged";
  #judged: Shader | undefined;
  #threads: CompileThread[] = [];
  #number = 0;

  /** Watches the end of the program. */
  constructor() {
    globalThis.addEventListener("unload", this.#stop);
  }

  /** True if it is of use, so that much should be encoded before it is submitted. */
  get isCold(): boolean {
    return this.#state === "cold" && !this.#threads.some((thread) => thread.isUseless);
  }

  /** True if a kernel was added by which {@linkcode judge} is to find out if it is of use. */
  get isCurious(): boolean {
    return this.#state === "unjudged" && this.#judged !== undefined;
  }

  /** Takes a kernel that the device will need. */
  add(shader: Shader): void {
    if (this.#state === "unjudged" && shader.code.length >= LONG) this.#judged ??= shader;
    if (!this.isCold) return;
    const thread = this.#threads[this.#number++ % this.#threads.length];
    thread.add({ shader, number: this.#number, took: null });
  }

  /** Takes the milliseconds that the device took for the long kernel alone, without running it. */
  judge(took: number): void {
    const threads = Math.min(navigator.hardwareConcurrency - 1, MAXIMUM_THREADS); // the device has one
    if (took < COLD_MILLISECONDS || threads < 1) {
      this.#state = "off";
      return;
    }
    this.#state = "cold";
    this.#threads = Array.from({ length: threads }, () => new CompileThread());
    for (const thread of this.#threads) thread.add({ shader: this.#judged!, number: 0, took });
  }

  /** Takes that the device has run all kernels up to now. */
  pass(): void {
    for (const thread of this.#threads) thread.pass(this.#number);
  }

  /** Ends the threads between two kernels: a program that ends while LLVM compiles may crash. */
  readonly #stop = (): void => {
    for (const thread of this.#threads) thread.stop();
    for (const thread of this.#threads) thread[Symbol.dispose]();
  };

  /** Ends the threads. */
  [Symbol.dispose](): void {
    this.#stop();
    this.#state = "off";
    globalThis.removeEventListener("unload", this.#stop);
  }
}

/** One of the threads: it ends itself when it has nothing to do for a while, and begins anew when it has. */
class CompileThread implements Disposable {
  readonly #flags = new Int32Array(new SharedArrayBuffer(4 * Object.keys(FLAGS).length));
  #worker: Worker | undefined;

  /** True if it has found that it is of no use. */
  get isUseless(): boolean {
    return this.#flags[FLAGS.useless] === 1;
  }

  /** Has the thread compile a kernel. */
  add(message: Omit<ShaderAhead, "flags">): void {
    if (this.#flags[FLAGS.ended] === 1) this.#worker = undefined;
    if (!this.#worker) {
      this.#flags.fill(0);
      const url = new URL("./compile_worker.ts", import.meta.url);
      this.#worker = new Worker(url, { type: "module" });
      this.#worker.onerror = (event) => { // its module cannot be read: the device compiles all itself
        event.preventDefault();
        this.#flags[FLAGS.useless] = 1;
      };
    }
    const flags = this.#flags.buffer as SharedArrayBuffer;
    this.#worker.postMessage({ ...message, flags } satisfies ShaderAhead);
  }

  /** Tells the thread which kernels nobody waits for. */
  pass(number: number): void {
    Atomics.store(this.#flags, FLAGS.passed, number);
  }

  /** Asks the thread to begin no further kernel. */
  stop(): void {
    Atomics.store(this.#flags, FLAGS.stop, 1);
  }

  /** Waits until the thread, which was asked to, compiles no more, and ends it. */
  [Symbol.dispose](): void {
    const outcome = Atomics.wait(this.#flags, FLAGS.busy, 1, PATIENCE);
    if (outcome !== "timed-out") this.#worker?.terminate();
    this.#worker = undefined;
  }
}
