/** Sizes of a tensor's axes, slowest first. */
export type Shape = readonly number[];

/** Number of elements of a tensor of this shape. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const axis of shape) size *= axis;
  return size;
}

/** A shape in error messages: `[2, 3]`. */
export function shapeText(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/**
 * Error that names an op and the shapes it cannot combine: "linear: x [2, 3] and weight [5, 4] do not
 * fit".
 *
 * @param tensors Operands by the names to show; absent ones are left out.
 * @param details Continues the sentence, such as " for 8 heads".
 */
export function shapeError(
  op: string,
  tensors: Readonly<Record<string, { readonly shape: Shape } | null>>,
  details = "",
): Error {
  const texts = Object.entries(tensors).flatMap(([name, tensor]) =>
    tensor ? [`${name} ${shapeText(tensor.shape)}`] : []
  );
  const last = texts.pop();
  const others = texts.length > 0 ? `${texts.join(", ")} and ` : "";
  return new Error(`${op}: ${others}${last} do not fit${details}`);
}

/** True if two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}

/**
 * True if b, apart from leading axes of size 1, is the end of a, so that a tensor of shape b repeats as a
 * whole along a's leading axes.
 */
export function isTail(a: Shape, b: Shape): boolean {
  const first = b.findIndex((size) => size !== 1);
  const tail = first < 0 ? [] : b.slice(first);
  return b.length <= a.length && sameShape(a.slice(a.length - tail.length), tail);
}

/**
 * The shape that two operands broadcast to, by NumPy's rule: axes are aligned from the last, and an
 * axis of size 1 is repeated.
 *
 * @throws {Error} naming the op and both shapes if they do not fit.
 */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[a.length - rank + axis] ?? 1;
    const y = b[b.length - rank + axis] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new Error(`${op}: ${shapeText(a)} and ${shapeText(b)} do not broadcast`);
    }
    return x === 1 ? y : x;
  });
}

/**
 * Turns axes that may count from the end (-1 is the last) into ascending axes from the start.
 *
 * @throws {Error} naming the op and the axis if there is no such axis.
 */
export function normaliseAxes(op: string, axes: readonly number[], rank: number): number[] {
  return axes.map((axis) => {
    if (axis < -rank || axis >= rank) {
      throw new Error(`${op}: there is no axis ${axis} in a tensor of ${rank} axes`);
    }
    return axis < 0 ? axis + rank : axis;
  }).sort((a, b) => a - b);
}
