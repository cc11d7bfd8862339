import type { Gpu } from "../../lib/gpu/gpu.ts";
import { injectLora, LoraLinear } from "../../lib/nn/lora.ts";
import { Random } from "../../lib/random.ts";
import { buildMobileSam } from "../../lib/sam/build_sam.ts";
import { CachedEncoder } from "../../lib/sam/cached_encoder.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { reshape } from "../../lib/tensor/ops/movement.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { disc, wave } from "../sam/seeded.ts";

/** What is trained: adapters of rank 16 on every qkv of the encoder, the mask decoder, or nothing. */
export type Kind = "lora" | "peft" | "frozen";

/** Learning rate of every benchmarked step. */
export const LEARNING_RATE = 1e-3;

/** MobileSAM with one batch that is trained on again and again. */
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
    { kind, side, batch }: { kind: Kind; side: number; batch: number },
  ): Promise<Training> {
    const sam = await buildMobileSam(gpu);
    if (kind === "peft") sam.maskDecoder.setTrainable(true);
    if (kind === "lora") {
      await injectLora(sam, {
        r: 16,
        lora_alpha: 16,
        target_modules: ["attn.qkv"],
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
    noGrad(() => this.#loss(this.sam.imageEncoder.forward(this.#input)));
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
