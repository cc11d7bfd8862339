import type { Module } from "../nn/module.ts";
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
  /** Its parts in the order of computation. */
  stages(): EncoderStage[];
}
