import type { Gpu } from "../../lib/gpu/gpu.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { CachedEncoder } from "../../lib/evaluate/cached_encoder.ts";
import { injectLora, LoraLinear } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { buildSam, emptySam } from "../../lib/sam/build_sam.ts";
import { MODELS } from "../../lib/sam/models.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { reshape } from "../../lib/tensor/ops/movement.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { disc, seededState, wave } from "../sam/seeded.ts";
import type { HostState } from "../../lib/nn/host_state.ts";
import { hostWeights } from "../../lib/nn/weight_source.ts";

/** The models that are benchmarked. */
export type Model = "mobile_sam" | "vit_b";

/** Names of the models in tables. */
export const MODEL_NAMES: Readonly<Record<Model, string>> = {
  mobile_sam: MODELS.mobile_sam.label,
  vit_b: MODELS.vit_b.label,
};

/**
 * The trained part: adapters of rank 16 on every qkv of the encoder, the same on its last blocks alone,
 * the mask decoder, or nothing.
 */
export type Kind = "lora" | "lora_late" | "peft" | "frozen";

/** The blocks that "lora_late" adapts: MobileSAM's last stage, the last quarter of ViT-B. */
const LATE_BLOCKS: Readonly<Record<Model, readonly number[]>> = {
  mobile_sam: [8, 9],
  vit_b: [9, 10, 11],
};

/** Options of {@linkcode Training}. */
export interface TrainingOptions {
  /** MobileSAM unless another is named. */
  readonly model?: Model;
  /** Part that is trained. */
  readonly kind: Kind;
  /** Side S of the input, in pixels. */
  readonly side: number;
  /** Images of a step. */
  readonly batch: number;
  /** Other weights than MobileSAM's own, or than seeded ones for ViT-B. */
  readonly weights?: HostState | string;
}

/** Images of a step: as many as keep MobileSAM's widest activation within a binding of 128 MiB. */
export function batchOf(model: Model, side: number): number {
  return model === "vit_b" || side > 512 ? 1 : 4;
}

/** Weights for ViT-B that look random: nothing is learnt from them, but they take as long. */
export function seededVitB(gpu: Gpu): ReturnType<typeof seededState> {
  const empty = emptySam(gpu, MODELS.vit_b);
  try {
    return seededState(empty);
  } finally {
    empty.dispose();
    gpu.trim();
  }
}

/** Learning rate of every benchmarked step. */
export const LEARNING_RATE = 1e-3;

/** A model with one batch that is trained on again and again. */
export class Training implements Disposable {
  /** The model. */
  readonly sam: Sam;
  /** Side S of the input. */
  readonly side: number;
  /** Inputs, [B, S, S, 3]. */
  readonly pixels: Float32Array;
  /** Targets, [B, S, S]. */
  readonly masks: Float32Array;
  /** A box round each target, in pixels. */
  readonly boxes: readonly (readonly [number, number, number, number])[];
  readonly #input: Tensor;
  readonly #target: Tensor;
  readonly #optimizer: Adam | null;
  readonly #cached: CachedEncoder;

  private constructor(sam: Sam, { side, batch }: { side: number; batch: number }) {
    this.sam = sam;
    this.side = side;
    this.pixels = wave(batch, side);
    this.masks = disc(batch, side, side);
    this.boxes = Array.from({ length: batch }, (_, b) => {
      const half = 0.2 + 0.05 * b;
      return [Math.max(0, 0.6 - half), 0.15, Math.min(1, 0.6 + half), 0.65]
        .map((share) => share * side) as [number, number, number, number];
    });
    this.#input = Tensor.from(sam.gpu, this.pixels, [batch, side, side, 3]).keep();
    this.#target = Tensor.from(sam.gpu, this.masks, [batch, side, side]).keep();
    const parameters = sam.trainableParameters().map(([, tensor]) => tensor);
    this.#optimizer = parameters.length > 0
      ? new Adam(parameters, { decoupled: true, maxGradNorm: 1 })
      : null;
    this.#cached = new CachedEncoder(sam.imageEncoder, { side });
  }

  /** Builds model and batch. */
  static async open(
    gpu: Gpu,
    { model = "mobile_sam", kind, side, batch, weights }: TrainingOptions,
  ): Promise<Training> {
    const state = weights ?? (model === "vit_b" ? seededVitB(gpu) : null);
    const sam = typeof state === "string" || state === null
      ? await loadSam(gpu, { model, weights: state, side })
      : await buildSam(gpu, MODELS[model], { weights: hostWeights(state, "the state"), side });
    if (kind === "peft") sam.maskDecoder.setTrainable(true);
    if (kind === "lora" || kind === "lora_late") {
      await injectLora(sam, {
        r: 16,
        lora_alpha: 16,
        target_modules: ["attn.qkv"],
        blocks: kind === "lora_late" ? LATE_BLOCKS[model] : undefined,
        random: new Random(0),
      });
    }
    return new Training(sam, { side, batch });
  }

  /** The adapters by the path of the layer. */
  get adapters(): [path: string, adapter: LoraLinear][] {
    return [...this.sam.namedModules()].flatMap(([path, module]) =>
      module instanceof LoraLinear ? [[path, module] as [string, LoraLinear]] : []
    );
  }

  /** Encodes a forward pass up to the loss, without a tape. */
  forward(): void {
    using _ = new Scope(this.sam.gpu);
    noGrad(this.sam.gpu, () => this.#loss(this.sam.imageEncoder.forward(this.#input)));
  }

  /**
   * Encodes one optimiser step.
   *
   * @param options.cached Take what lies before the first adapter from the cache, as training does
   * from the second epoch on.
   * @returns The loss before the step; to be disposed.
   */
  step({ cached = false }: { cached?: boolean } = {}): Tensor {
    using _ = new Scope(this.sam.gpu);
    const size = 3 * this.side * this.side;
    const embeddings = cached
      ? this.#cached.encode(this.boxes.map((_, b) => ({
        key: String(b),
        pixels: () => this.pixels.subarray(b * size, (b + 1) * size),
      })))
      : this.sam.imageEncoder.forward(this.#input);
    const loss = this.#loss(embeddings);
    loss.backward();
    this.#optimizer!.step(LEARNING_RATE);
    return loss.detach().keep();
  }

  #loss(embeddings: Tensor): Tensor {
    const { sam, side } = this;
    const { masks } = sam.decode(embeddings, this.boxes.map((box) => ({ box })));
    const logits = sam.postprocessMasks(masks, { input: [side, side], original: [side, side] });
    return diceBceLoss(reshape(logits, this.#target.shape), this.#target).loss;
  }

  /** Frees model and batch. */
  [Symbol.dispose](): void {
    this.#cached[Symbol.dispose]();
    this.#optimizer?.[Symbol.dispose]();
    this.#input.dispose();
    this.#target.dispose();
    this.sam.dispose();
  }
}
