import type { Block } from "../../lib/report/document.ts";
import type { DeviceList } from "../../lib/study/devices.ts";
import type { GpuAdapter } from "../../lib/gpu/gpu_adapter.ts";

/** Input of a part. */
export interface PartContext {
  /** Hardware that is measured. */
  readonly adapter: GpuAdapter;
  readonly devices: DeviceList;
  /** A Python with PyTorch; null where none was named. */
  readonly python: string | null;
  /** Seconds that the part may take. */
  readonly seconds: number;
  /** Aborted when those are over, or somebody asked to stop. */
  readonly signal: AbortSignal;
  /** Keeps what was measured so far: where the time is over, that is the result. */
  keep(result: unknown): void;
}

/** A part of the report: what it measures, and how it is shown. */
// deno-lint-ignore no-explicit-any
export interface Part<Result = any> {
  /** Key in the JSON. */
  readonly name: string;
  /** Heading on the page. */
  readonly title: string;
  /** Seconds that it takes at least, on a GPU and on a CPU: with less time left it is not begun. */
  readonly needs: { readonly GPU: number; readonly CPU: number };
  /** Seconds that it may take; default: all that are left. */
  readonly most?: number;
  /**
   * Measures.
   *
   * @throws {Error} whose message is the reason why this part has no result here.
   */
  run(context: PartContext): Promise<Result>;
  /** Sentence of the page's head, if the result has one that tells much. */
  headline?(result: Result): string | null;
  /** The result on the page. */
  blocks(result: Result): Block[];
}

/** Part whose result has this type. */
export function part<Result>(options: Part<Result>): Part<Result> {
  return options;
}

/** A part's end. */
export interface Outcome {
  readonly name: string;
  readonly title: string;
  /** `partial`: the time was over, or somebody stopped it, and `result` is what was measured till then. */
  readonly state: "done" | "partial" | "failed" | "not run";
  /** Sentence on the state, null for `done`. */
  readonly reason: string | null;
  readonly seconds: number;
  readonly result: unknown;
}
