import { excerpt, InputError } from "../errors.ts";
import { sameShape, type Shape, shapeText } from "../tensor/shape.ts";

/** A tensor in host memory, in C order. */
export interface HostTensor {
  /** The length of each axis; [] for a scalar. */
  readonly shape: Shape;
  /** The elements, the last axis fastest. */
  readonly data: Float32Array;
}

/** Weights on the host by their official names. */
export type HostState = ReadonlyMap<string, HostTensor>;

/** The first few names and how many more there are. */
function list(names: string[]): string {
  const shown = names.slice(0, 8).map(excerpt).join(", ");
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

/**
 * Checks that `state` holds exactly the tensors of `shapes`.
 *
 * @param options.source Origin of the tensors in the error message.
 * @throws {InputError} naming the missing, the unexpected and the misshapen tensors.
 */
export function checkHostState(
  state: ReadonlyMap<string, { readonly shape: Shape }>,
  shapes: ReadonlyMap<string, Shape>,
  options: { source: string },
): void {
  const missing = [...shapes.keys()].filter((name) => !state.has(name));
  const unexpected = [...state.keys()].filter((name) => !shapes.has(name));
  const misshapen = [...shapes].flatMap(([name, shape]) => {
    const actual = state.get(name)?.shape ?? shape;
    return sameShape(actual, shape)
      ? []
      : [`${name} ${shapeText(actual)}, expected ${shapeText(shape)}`];
  });
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
