import type { Gpu } from "../gpu/gpu.ts";
import type { Node } from "./autograd.ts";
import { refusePromise, Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/** The innermost open scope of a device, which owns the tensors made now. */
export function currentScope(gpu: Gpu): Scope | undefined {
  const { scopes } = Tape.of(gpu);
  return scopes[scopes.length - 1];
}

/**
 * Owns every tensor that is made while it is the innermost open scope and frees them when it ends,
 * except those that were kept.
 *
 * Tape nodes belong to the outermost scope: what a block's backward needs survives the block's own
 * scope.
 *
 * @example
 * ```ts ignore
 * using _ = new Scope(gpu);
 * const loss = criterion(model.forward(x), y);
 * loss.backward();
 * ```
 */
export class Scope implements Disposable {
  readonly #stack: Scope[];
  /** Each knows its place, so that one is taken out without a search; their order does not matter. */
  readonly #tensors: Tensor[] = [];
  readonly #nodes = new Set<Node>();

  /** Opens a scope within the one that is open. */
  constructor(gpu: Gpu) {
    this.#stack = Tape.of(gpu).scopes;
    this.#stack.push(this);
  }

  /** Takes ownership of a tensor. */
  adopt(tensor: Tensor): void {
    tensor.scope = this;
    tensor.place = this.#tensors.push(tensor) - 1;
  }

  /** Gives up ownership of a tensor. */
  disown(tensor: Tensor): void {
    const last = this.#tensors.pop()!;
    if (last !== tensor) {
      last.place = tensor.place;
      this.#tensors[last.place] = last;
    }
    tensor.scope = null;
  }

  /** Hands a tensor to the scope around this one; without one, it lives until it is disposed. */
  handOver(tensor: Tensor): void {
    if (tensor.scope !== this) return;
    this.disown(tensor);
    this.#stack[this.#stack.indexOf(this) - 1]?.adopt(tensor);
  }

  /** Takes ownership of a tape node, for the outermost scope. */
  adoptNode(node: Node): void {
    node.owner = this.#stack[0].#nodes.add(node);
  }

  /** Frees what it owns, and stays open. */
  clear(): void {
    for (const tensor of this.#tensors) {
      tensor.scope = null;
      tensor.dispose();
    }
    this.#tensors.length = 0;
    for (const node of this.#nodes) node.release();
  }

  /** Frees what it owns. */
  [Symbol.dispose](): void {
    if (this.#stack.at(-1) !== this) throw new Error("scopes must end in reverse order");
    this.#stack.pop();
    this.clear();
  }
}

/**
 * Runs `compute` in a scope of its own and frees everything it made but its result, which goes to the
 * scope around.
 */
export function tidy<T extends Tensor | readonly Tensor[]>(gpu: Gpu, compute: () => T): T {
  using scope = new Scope(gpu);
  const result = refusePromise("tidy", compute());
  for (const tensor of Array.isArray(result) ? result as Tensor[] : [result as Tensor]) {
    scope.handOver(tensor);
  }
  return result;
}
