import type { Precision } from "../../kernels/operands.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { currentScope, Scope } from "./scope.ts";
import { shapeText } from "./shape.ts";
import { Tape } from "./tape.ts";
import { add, addInPlace } from "./ops/arithmetic.ts";
import { fill } from "./ops/fill.ts";
import type { Tensor } from "./tensor.ts";

/** Tensors that an op saves for its backward; `null` for an optional one that is absent. */
export type Saveable = readonly (Tensor | null)[];

/**
 * Gradient rule of an op.
 *
 * @param grad Gradient of the loss with respect to the op's output, in the output's shape.
 * @param saved The tensors the op saved, readable again.
 * @param needs For each input, true if its gradient is wanted; an unwanted one may be `null` and
 *   should cost nothing.
 * @returns The gradient with respect to each input, in that input's shape.
 */
export type Backward<Saved extends Saveable> = (
  grad: Tensor,
  saved: Saved,
  needs: readonly boolean[],
) => readonly (Tensor | null)[];

/** An application of an op, as the tape records it. */
export interface Application<Saved extends Saveable> {
  /** Name in error messages. */
  readonly op: string;
  /** Tensors it was applied to; `null` for an optional input that is absent. */
  readonly inputs: readonly (Tensor | null)[];
  /** Its result. */
  readonly output: Tensor;
  /** Tensors its backward reads. */
  readonly saved: Saved;
  /** Intermediate activations saved for backward beside inputs and output; may be stored as f16. */
  readonly activations?: readonly (Tensor | null)[];
  /** Gradient of the output with respect to each input; required. */
  readonly backward: Backward<Saved>;
  /** Parameters upstream that are no inputs: backward itself adds to their gradients. */
  readonly parameters?: readonly Tensor[];
}

/** A saved tensor in the form in which the tape keeps it. */
export interface SavedTensor {
  /** The tensor again; if it has to be computed, the open scope owns it. */
  unpack(): Tensor;
  /** Frees the kept form. */
  dispose(): void;
}

/** Chooses the form in which a tensor that an op saves is kept. */
export type Pack = (tensor: Tensor, application: Application<Saveable>) => SavedTensor;

/** Destination of a gradient: a parameter, the node that computed the input, or none. */
export type GradientTarget = Tensor | Node | null;

/** A saved tensor kept by a handle of its own. */
class Handle implements SavedTensor {
  readonly #alias: Tensor;

  constructor(tensor: Tensor) {
    this.#alias = tensor.alias();
  }

  unpack(): Tensor {
    return this.#alias;
  }

  dispose(): void {
    this.#alias.dispose();
  }
}

/** Keeps a saved tensor by a handle of its own. */
export function keepAsIs(tensor: Tensor): SavedTensor {
  return new Handle(tensor);
}

/** A recorded application of an op: the tensors its backward reads, and no other memory. */
export class Node {
  /** Grows along every path from the parameters to the loss. */
  readonly order: number;
  /** Name of the op, in error messages. */
  readonly op: string;
  /** Destination of the gradient of each input. */
  readonly targets: readonly GradientTarget[];
  /** Nodes of the scope that will release it. */
  owner: Set<Node> | null = null;
  readonly #backward: Backward<Saveable>;
  /** Precision of its forward pass, and so of its backward pass. */
  readonly #precision: Precision;
  #saved: readonly (SavedTensor | null)[] | null;

  /** Saves the tensors that backward reads. */
  constructor(application: Application<Saveable>) {
    const tape = Tape.of(application.output.gpu);
    const pack = tape.settings.pack ?? keepAsIs;
    this.order = tape.nodes++;
    this.op = application.op;
    this.targets = application.inputs.map((input) =>
      input && (input.isParameter ? input : input.node)
    );
    this.#saved = application.saved.map((tensor) => tensor && pack(tensor, application));
    this.#backward = application.backward;
    this.#precision = tape.settings.precision;
  }

  /** Runs the op's backward, once, and frees the saved tensors. */
  run(grad: Tensor): readonly (Tensor | null)[] {
    if (!this.#saved) {
      throw new Error(`backward through ${this.op} a second time: run the forward pass again`);
    }
    const needs = this.targets.map((target) => target !== null);
    const saved = this.#saved.map((saved) => saved && saved.unpack());
    const grads = Tape.of(grad.gpu).during(
      this.op,
      { field: "precision", value: this.#precision },
      () => this.#backward(grad, saved, needs),
    );
    this.release();
    return grads;
  }

  /** Frees the saved tensors. */
  release(): void {
    if (!this.#saved) return;
    for (const saved of this.#saved) saved?.dispose();
    this.#saved = null;
    this.owner?.delete(this);
  }
}

/** True if an op on these inputs would be put on the tape. */
export function records(inputs: readonly (Tensor | null)[]): boolean {
  for (const input of inputs) if (input?.requiresGrad) return Tape.of(input.gpu).settings.recording;
  return false;
}

/**
 * Puts an application of an op on the tape if a parameter lies upstream, and returns its output.
 * If everything upstream is frozen nothing is recorded and nothing saved.
 */
export function record<const Saved extends Saveable>(
  application: Application<Saved>,
): Tensor {
  const { inputs, output, parameters } = application;
  if (records(inputs) || (parameters && records(parameters))) {
    // The node hands back the tensors of `saved`, so their type is Saved.
    output.node = new Node(application as unknown as Application<Saveable>);
    currentScope(output.gpu)?.adoptNode(output.node);
  }
  return output;
}

/**
 * Runs `compute` without recording on the device's tape: for validation and inference.
 *
 * @throws {Error} if `compute` returns a promise.
 */
export function noGrad<T>(gpu: Gpu, compute: () => T): T {
  return Tape.of(gpu).during("noGrad", { field: "recording", value: false }, compute);
}

/**
 * Runs `compute` with recording, as within `noGrad` it would not be.
 *
 * @throws {Error} if `compute` returns a promise.
 */
export function enableGrad<T>(gpu: Gpu, compute: () => T): T {
  return Tape.of(gpu).during("enableGrad", { field: "recording", value: true }, compute);
}

/**
 * Back-propagates to every parameter upstream, adding to their `grad`. The tape is consumed.
 *
 * @param output Usually the loss.
 * @param grad Gradient of the loss with respect to it; without one, `output` is the loss itself.
 * @throws {Error} if no parameter lies upstream, or there is no gradient and more than one element.
 */
export function backward(output: Tensor, grad?: Tensor): void {
  if (!grad && output.size !== 1) {
    throw new Error(
      `backward starts at a scalar, not at ${shapeText(output.shape)}: reduce it first`,
    );
  }
  const { gpu, node: last } = output;
  if (!last) throw new Error("backward: no parameter lies upstream of this tensor");
  noGrad(gpu, () => {
    using _ = new Scope(gpu);
    const grads = new Map<Node, Tensor>([
      [last, grad?.detach() ?? fill(gpu, output.shape, 1)],
    ]);
    using scope = new Scope(gpu); // what a single node's backward makes
    for (const node of reachable(last)) {
      const grad = grads.get(node);
      grads.delete(node);
      if (!grad) continue;
      const inputGrads = node.run(grad);
      for (let i = 0; i < inputGrads.length; i++) {
        const target = node.targets[i];
        const inputGrad = inputGrads[i];
        if (!target) continue;
        if (!inputGrad) throw new Error(`backward of ${node.op} gave no gradient for input ${i}`);
        if (target instanceof Node) {
          const sum = accumulate(grads.get(target) ?? null, inputGrad);
          scope.handOver(sum);
          grads.set(target, sum);
        } else {
          target.grad = accumulate(target.grad, inputGrad).keep();
        }
      }
      grad.dispose();
      scope.clear();
    }
  });
}

/** Nodes upstream of `last`, each before the nodes it was computed from. */
function reachable(last: Node): Node[] {
  const seen = new Set([last]);
  for (const node of seen) {
    for (const target of node.targets) if (target instanceof Node) seen.add(target);
  }
  return [...seen].sort((a, b) => b.order - a.order);
}

/** The sum of two gradients, in place where nobody else can see it. */
function accumulate(sum: Tensor | null, grad: Tensor): Tensor {
  // A gradient that an op handed on unchanged may be freed with its first owner: take a handle to it.
  if (!sum) return grad.detach();
  if (!sum.shared) return addInPlace(sum, grad);
  const total = add(sum, grad);
  sum.dispose();
  return total;
}
