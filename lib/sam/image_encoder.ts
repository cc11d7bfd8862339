import type { Module } from "../nn/module.ts";
import { checkpoint } from "../tensor/checkpoint.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A part of an encoder between two points through which a single tensor flows. */
export interface EncoderStage {
  /** Path of the part within the encoder. */
  readonly name: string;
  /** The modules it runs. */
  readonly modules: readonly Module[];
  /** Weights it uses that belong to none of the modules. */
  readonly weights?: readonly Tensor[];
  /** Runs it. */
  run(x: Tensor): Tensor;
}

/** What SAM asks of an image encoder. */
export interface ImageEncoder extends Module {
  /** [B, S, S, 3], normalised -> [B, S/16, S/16, 256] */
  forward(x: Tensor): Tensor;
  /**
   * Whether backward computes each stage again from its input instead of keeping what lies within:
   * less memory, more time, the same numbers.
   */
  checkpointActivations: boolean;
  /** Its parts in the order of computation. */
  stages(): EncoderStage[];
}

/** The same stage, of which the tape keeps the input alone. */
export function checkpointStage(stage: EncoderStage): EncoderStage {
  const { modules, weights = [], run } = stage;
  return {
    ...stage,
    run: (x) => {
      const trained = modules.flatMap((module) => module.trainableParameters());
      return checkpoint(x, {
        run,
        parameters: [...weights, ...trained.map(([, tensor]) => tensor)],
      });
    },
  };
}
