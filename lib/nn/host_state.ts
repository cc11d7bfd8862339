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

/**
 * Largest magnitudes that are believed. Of SAM's weights the largest is 11 (MobileSAM, BatchNorms fused),
 * but a BatchNorm's variance may be thousands; of PEFT's fixtures and our own adapters it is 2.8, whole
 * decoders included. Beyond these limits float32 has lost what a mask depends on.
 */
export const LARGEST = { weights: 1e6, adapter: 1e4 } as const;

/**
 * Refuses a tensor of which no mask can come: logits of NaN are no pixel above 0, and look like an empty
 * mask.
 *
 * @param options.name The tensor as its file calls it.
 * @param options.source Origin of the tensor in the error message.
 * @param options.limit Largest magnitude that is believed; Infinity to refuse NaN alone.
 * @throws {InputError} if a value is NaN, infinite or beyond the limit.
 */
export function checkValues(
  data: Float32Array,
  { name, source, limit }: { name: string; source: string; limit: number },
): void {
  let at = 0; // a loop: weights are hundreds of millions
  while (at < data.length && Math.abs(data[at]) <= limit) at++;
  if (at === data.length) return;
  const value = data[at];
  const seen = Number.isFinite(value)
    ? `${value.toPrecision(2)}, where trained values stay below ${limit}`
    : `${value}`;
  throw new InputError(
    `${source}: the tensor ${excerpt(name)} holds ${seen}, so that its masks would mean nothing: ` +
      `get the file again, or take weights from before the training broke down`,
  );
}
