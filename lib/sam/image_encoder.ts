import type { Gpu } from "../gpu/gpu.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Module } from "../nn/module.ts";
import { checkpoint } from "../tensor/checkpoint.ts";
import { tidy } from "../tensor/scope.ts";
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

/** SAM's neck: a 1x1 and a 3x3 convolution to the embedding's channels, each with a LayerNorm. */
export type Neck = [Conv2d, LayerNorm, Conv2d, LayerNorm];

/** Makes an empty neck. */
export function createNeck(
  gpu: Gpu,
  { inChannels, outChannels }: { inChannels: number; outChannels: number },
): Neck {
  const norm = { dim: outChannels, eps: 1e-6 };
  const common = { outChannels, bias: false };
  return [
    new Conv2d(gpu, { inChannels, kernelSize: 1, ...common }),
    new LayerNorm(gpu, norm),
    new Conv2d(gpu, { inChannels: outChannels, kernelSize: 3, padding: 1, ...common }),
    new LayerNorm(gpu, norm),
  ];
}

/** An image encoder of SAM: [B, S, S, 3], normalised -> [B, S/16, S/16, 256]; of LiteMedSAM S/4. */
export abstract class ImageEncoder extends Module {
  /** Pixels of the input's side that one cell of the embedding covers: 16 in SAM. */
  abstract readonly stride: number;
  /** Convolutions to the embedding's channels, after all other stages. */
  abstract readonly neck: Neck;
  /**
   * If true, backward computes each stage of the body again from its input instead of keeping its intermediate
   * activations: less memory, more time, the same numbers. The neck and the last stage before it keep theirs: they are
   * the first that backward would compute again, when no other stage's are held.
   */
  checkpointActivations = false;

  /** The stages before the neck, in the order of computation. */
  protected abstract body(): EncoderStage[];

  /** The encoder in the order of computation, cut where one tensor flows. */
  stages(): EncoderStage[] {
    const [conv1, norm1, conv2, norm2] = this.neck;
    const neck: EncoderStage = {
      name: "neck",
      modules: this.neck,
      run: (x) => norm2.forward(conv2.forward(norm1.forward(conv1.forward(x)))),
    };
    const body = this.body();
    if (!this.checkpointActivations) return [...body, neck];
    return [...body.slice(0, -1).map(checkpointStage), ...body.slice(-1), neck];
  }

  /**
   * [B, S, S, 3], normalised -> [B, S/16, S/16, 256]
   *
   * @throws {InputError} if the images are not of a side that the encoder takes.
   */
  forward(x: Tensor): Tensor {
    return runStages(this.stages(), x);
  }
}

/** Runs stages one after the other, each in a scope of its own. */
export function runStages(stages: readonly EncoderStage[], x: Tensor): Tensor {
  for (const stage of stages) {
    const input = x;
    x = tidy(x.gpu, () => stage.run(input));
  }
  return x;
}

/** The same stage, of which the tape keeps the input alone. */
function checkpointStage(stage: EncoderStage): EncoderStage {
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
