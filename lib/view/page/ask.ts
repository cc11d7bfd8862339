/// <reference lib="dom" />
import type { FromWorker, ProgressEvent, Question, Questions, ToWorker } from "../protocol.ts";

/** The worker, as the page talks to it. */
export class Asker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #next = 1;
  /** Sentence on the worker's end; null while it runs. */
  #end: string | null = null;

  /**
   * Starts the worker.
   *
   * @param options.onEnd Called with a sentence when nothing can be computed any more.
   */
  constructor(
    { onProgress, onEnd }: {
      onProgress: (progress: ProgressEvent) => void;
      onEnd: (sentence: string) => void;
    },
  ) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if ("progress" in data) return onProgress(data.progress);
      if ("end" in data) return onEnd(data.end);
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("error" in data) waiting?.reject(new Error(data.error));
      else waiting?.resolve(data.answer);
    };
    this.#worker.onerror = ({ message }) => {
      this.#end =
        `The program of this page cannot run (${message || "it did not load"}): reload the ` +
        `page, or build it again.`;
      onEnd(this.#end);
      for (const { reject } of this.#waiting.values()) reject(new Error(this.#end));
      this.#waiting.clear();
    };
  }

  /** Questions that are not answered yet. */
  get pending(): number {
    return this.#waiting.size;
  }

  /**
   * Asks the worker.
   *
   * @throws {Error} with a sentence for the user.
   */
  async ask<Q extends Question>(
    question: Q,
    ...[value]: Parameters<Questions[Q]>
  ): Promise<ReturnType<Questions[Q]>> {
    if (this.#end !== null) throw new Error(this.#end);
    const id = this.#next++;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#worker.postMessage({ id, question, value } satisfies ToWorker);
    return await waiting.promise as ReturnType<Questions[Q]>;
  }

  /** Ends the spreading of an object. */
  stop(): void {
    this.#worker.postMessage("stop" satisfies ToWorker);
  }
}
