import type { Precision } from "../../kernels/operands.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Pack } from "./autograd.ts";
import type { Draws } from "./checkpoint.ts";
import type { Scope } from "./scope.ts";
import type { Tensor } from "./tensor.ts";

/** Settings of {@linkcode Tape} that are changed for the length of a function. */
export interface Settings {
  /** True if applications of ops are recorded. */
  recording: boolean;
  /** Form in which saved tensors are kept; `null` keeps them as they are. */
  pack: Pack | null;
  /** Precision of products and attention. */
  precision: Precision;
  /** Random values of the checkpointed function that is running. */
  draws: Draws | null;
}

/**
 * Autograd state of one device: open scopes, and the settings under which ops are recorded. Models on
 * different devices share none of it.
 */
export class Tape {
  static readonly #tapes = new WeakMap<Gpu, Tape>();

  /** Settings that hold now. */
  readonly settings: Settings = { recording: true, pack: null, precision: "f32", draws: null };
  /** Open scopes, the innermost last. */
  readonly scopes: Scope[] = [];
  /** Activations that the tape holds in half precision, by the memory they were made from. */
  readonly halves = new WeakMap<object, Tensor>();
  /** Number of nodes recorded so far. */
  nodes = 0;

  /** The tape of a device, created by the first call. */
  static of(gpu: Gpu): Tape {
    let tape = Tape.#tapes.get(gpu);
    if (!tape) Tape.#tapes.set(gpu, tape = new Tape());
    return tape;
  }

  /**
   * Runs `compute` under another value of one setting.
   *
   * @param caller Function named in the error message.
   * @throws {Error} if `compute` returns a promise; the setting is restored.
   */
  during<Field extends keyof Settings, T>(
    caller: string,
    { field, value }: { field: Field; value: Settings[Field] },
    compute: () => T,
  ): T {
    const { settings } = this;
    const before = settings[field];
    settings[field] = value;
    try {
      return refusePromise(caller, compute());
    } finally {
      settings[field] = before;
    }
  }
}

/**
 * Returns `result`, unless it is a promise: whatever runs after its first `await` would do so after
 * `caller` has restored what it changed.
 *
 * @throws {Error} if it is one.
 */
export function refusePromise<T>(caller: string, result: T): T {
  if (typeof (result as PromiseLike<unknown> | null)?.then !== "function") return result;
  // Nobody will await it any more: its failure must not end the process.
  (result as PromiseLike<unknown>).then(undefined, () => {});
  throw new Error(
    `${caller} ends when its function returns, not when a promise settles: pass a function that is not async, and await its result outside`,
  );
}
