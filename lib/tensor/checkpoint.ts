import type { Gpu } from "../gpu/gpu.ts";
import { backward, enableGrad, noGrad, record } from "./autograd.ts";
import { currentScope, tidy } from "./scope.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/** Values that a checkpointed run drew at random, for the run again in backward. */
export interface Draws {
  /** Drawn values, in order. */
  readonly values: unknown[];
  /** The next one to hand out in the run again; null in the first run, which adds to them. */
  next: number | null;
  /** Those of the checkpointed run around this one. */
  readonly outer: Draws | null;
}

/**
 * A value that the host draws at random, such as dropout's seed: where {@linkcode checkpoint} runs a
 * function again, it gets the value of the first run. Outside of it, this is `draw()`.
 */
export function drawOnce<T>(gpu: Gpu, draw: () => T): T {
  return drawFor(Tape.of(gpu).settings.draws, draw);
}

function drawFor<T>(draws: Draws | null, draw: () => T): T {
  if (!draws) return draw();
  if (draws.next !== null) return draws.values[draws.next++] as T;
  const value = drawFor(draws.outer, draw);
  draws.values.push(value);
  return value;
}

/** Options of {@linkcode checkpoint}. */
export interface CheckpointOptions {
  /**
   * Computes the output from x, and the same again when it is called again. Beside x and the parameters
   * it uses nothing that requires a gradient, and what it draws at random it draws by
   * {@linkcode drawOnce}.
   */
  readonly run: (x: Tensor) => Tensor;
  /** The weights that it uses; those that are no parameters may be left out. */
  readonly parameters: readonly Tensor[];
}

/**
 * `run(x)` of which the tape keeps x alone: backward runs it again, so that time is spent for memory
 * (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"), as torch.utils.checkpoint.
 * Output and gradients are those of `run(x)`, bit for bit.
 */
export function checkpoint(x: Tensor, { run, parameters }: CheckpointOptions): Tensor {
  const { gpu } = x;
  const tape = Tape.of(gpu);
  const values: unknown[] = [];
  const runWith = (draws: Draws, x: Tensor) =>
    tape.during("checkpoint", { field: "draws", value: draws }, () => tidy(gpu, () => run(x)));
  const first: Draws = { values, next: null, outer: tape.settings.draws };
  const output = noGrad(gpu, () => runWith(first, x));
  return record({
    op: "checkpoint",
    inputs: [x],
    parameters,
    output: output === x ? x.detach() : output,
    saved: [x],
    backward: (dy, [saved], [toX]) => {
      // A leaf of its own ends the tape of the run again, and gathers the gradient of x.
      using input = saved.detach().setParameter(toX);
      const again = enableGrad(gpu, () => runWith({ values, next: 0, outer: null }, input));
      backward(again, dy);
      const dx = input.grad;
      if (dx) currentScope(gpu)?.adopt(dx);
      return [dx];
    },
  });
}
