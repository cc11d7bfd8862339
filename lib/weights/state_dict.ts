import { InputError } from "../errors.ts";

/** A tensor in host memory, in C order. */
export interface HostTensor {
  /** The length of each axis; [] for a scalar. */
  readonly shape: readonly number[];
  /** The elements, the last axis fastest. */
  readonly data: Float32Array;
}

/** A model's tensors by their module paths, in PyTorch's shapes (Linear [out, in], Conv [O, I, kh, kw]). */
export type StateDict = Map<string, HostTensor>;

/** The first few names and how many more there are. */
function list(names: string[]): string {
  const shown = names.slice(0, 8).join(", ");
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

/**
 * Checks that `state` holds exactly the tensors of `shapes`.
 *
 * @param options.source What the tensors come from, for the message.
 * @throws {InputError} naming the missing, the unexpected and the misshapen tensors.
 */
export function checkStateDict(
  state: StateDict,
  shapes: ReadonlyMap<string, readonly number[]>,
  options: { source: string },
): void {
  const missing = [...shapes.keys()].filter((name) => !state.has(name));
  const unexpected = [...state.keys()].filter((name) => !shapes.has(name));
  const misshapen = [...shapes]
    .filter(([name, shape]) => state.has(name) && String(state.get(name)!.shape) !== String(shape))
    .map(([name, shape]) => `${name} [${state.get(name)!.shape}], expected [${shape}]`);
  const faults = [
    ...(missing.length > 0 ? [`missing: ${list(missing)}`] : []),
    ...(unexpected.length > 0 ? [`unexpected: ${list(unexpected)}`] : []),
    ...(misshapen.length > 0 ? [`of another shape: ${list(misshapen)}`] : []),
  ];
  if (faults.length > 0) {
    throw new InputError(
      `${options.source} does not hold this model's tensors (${faults.join("; ")}): ` +
        `use weights of the same model`,
    );
  }
}
