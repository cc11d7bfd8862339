import { assert } from "@std/assert";
import { CachedEncoder } from "../../lib/evaluate/cached_encoder.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { ImageEncoder } from "../../lib/sam/image_encoder.ts";
import { ImageEncoderViT } from "../../lib/sam/image_encoder_vit.ts";
import { TinyViT } from "../../lib/sam/tiny_vit.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { hashed, seededState, wave } from "./seeded.ts";

const SIDE = 128;
const BATCH = 2;
const CHANNELS = 32;

const encoders: Record<string, () => ImageEncoder> = {
  TinyViT: () =>
    new TinyViT(gpu, {
      embedDims: [8, 32, 32, 32],
      depths: [1, 6, 2, 2],
      numHeads: [1, 2, 2, 2],
      windowSizes: [4, 4, 4, 4],
      outChannels: CHANNELS,
    }),
  "SAM's ViT": () =>
    new ImageEncoderViT(gpu, {
      imageSize: SIDE,
      embedDim: 32,
      depth: 6,
      numHeads: 2,
      windowSize: 5,
      globalAttnIndexes: [2],
      outChans: CHANNELS,
    }),
};

/** Loss, gradients and bytes of two steps of LoRA with dropout, through the encoder or the cache. */
async function train(
  build: () => ImageEncoder,
  { checkpointed, cached }: { checkpointed: boolean; cached: boolean },
) {
  const encoder = build();
  encoder.loadState(seededState(encoder));
  const adapters = await injectLora(encoder, {
    r: 4,
    lora_alpha: 8,
    lora_dropout: 0.2,
    random: new Random(0),
  });
  for (const [path, adapter] of adapters) {
    adapter.training = true;
    const { weight } = adapter.lora_B;
    weight.write(Float32Array.from(hashed(path, weight.size), (value) => 0.1 * value));
  }
  encoder.checkpointActivations = checkpointed;
  const pixels = wave(BATCH, SIDE);
  const size = pixels.length / BATCH;
  using x = Tensor.from(gpu, pixels, [BATCH, SIDE, SIDE, 3]);
  using cache = new CachedEncoder(encoder, { side: SIDE });
  const g = SIDE / 16;
  using weights = Tensor.from(
    gpu,
    Float32Array.from(hashed("loss", BATCH * g * g * CHANNELS)),
    [BATCH, g, g, CHANNELS],
  );
  const losses: number[] = [];
  gpu.trim();
  const before = gpu.memory.bytes;
  for (let step = 0; step < 2; step++) {
    using _ = new Scope(gpu);
    const embedding = cached
      ? cache.encode(Array.from({ length: BATCH }, (_, b) => ({
        key: String(b),
        pixels: () => pixels.subarray(b * size, (b + 1) * size),
      })))
      : encoder.forward(x);
    const loss = sum(mul(embedding, weights));
    loss.backward();
    losses.push(await loss.item());
  }
  const bytes = gpu.memory.bytes - before; // the pool keeps what a step needed at its peak
  const gradients = [];
  for (const [path, { grad }] of encoder.trainableParameters()) {
    assert(grad, path);
    gradients.push({ path, values: await grad.data() });
  }
  encoder.dispose();
  return { losses, gradients, bytes };
}

for (const [name, build] of Object.entries(encoders)) {
  Deno.test(`${name} with checkpointed activations: the same loss and gradients in less memory`, async () => {
    for (const cached of [false, true]) {
      const plain = await train(build, { checkpointed: false, cached });
      const checkpointed = await train(build, { checkpointed: true, cached });
      assert(plain.losses[0] !== plain.losses[1], "dropout draws anew in the second step");
      assertSameBits(
        Float32Array.from(checkpointed.losses),
        Float32Array.from(plain.losses),
        "losses",
      );
      checkpointed.gradients.forEach(({ path, values }, i) => {
        assert(values.some((value) => value !== 0), path);
        assertSameBits(values, plain.gradients[i].values, path);
      });
      const share = checkpointed.bytes / plain.bytes;
      console.log(
        `${name}, ${cached ? "cached" : "uncached"}: ${(plain.bytes / 2 ** 20).toFixed(1)} MiB, ` +
          `checkpointed ${(100 * share).toFixed(0)} % of that`,
      );
      assert(share < 0.75, `${checkpointed.bytes} of ${plain.bytes} bytes`);
    }
  });
}
