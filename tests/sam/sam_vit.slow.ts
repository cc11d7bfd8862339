// Blocks of ViT-B and the whole of it, with 90 M weights, against Meta's segment_anything.
import { assert } from "@std/assert";
import { hostWeights } from "../../lib/nn/weight_source.ts";
import { buildSam } from "../../lib/sam/build_sam.ts";
import { ImageEncoderViT, ViTBlock } from "../../lib/sam/image_encoder_vit.ts";
import { MaskDecoder } from "../../lib/sam/mask_decoder.ts";
import { MODELS } from "../../lib/sam/models.ts";
import { PromptEncoder } from "../../lib/sam/prompt_encoder.ts";
import { Sam } from "../../lib/sam/sam.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { largestDifference } from "./images.ts";
import { hashed, sampled, seededState } from "./seeded.ts";
import { compareForward, fixtures, relativeError } from "./segment_anything.ts";

for (const [kind, windowSize] of [["window", 14], ["global", 0]] as const) {
  for (const grid of [16, 64]) {
    Deno.test(`a ${kind} block of ViT-B on a grid of ${grid} x ${grid} is segment_anything's`, async () => {
      const { expected } = fixtures("blocks");
      const fixture = (name: string) => expected(`${kind}.${grid}.${name}`);
      const block = new ViTBlock(gpu, {
        dim: 768,
        numHeads: 12,
        mlpRatio: 4,
        windowSize,
        inputSize: grid,
      });
      block.loadState(seededState(block, `block.${kind}.${grid}.`));
      block.setTrainable(grid === 16);
      {
        using _ = new Scope(gpu);
        const shape = [1, grid, grid, 768];
        const elements = 768 * grid * grid;
        const make = (name: string, scale: number) =>
          Tensor.from(gpu, Float32Array.from(hashed(name, elements), (v) => scale * v), shape);
        const x = make(`x.${grid}`, 2).setParameter(grid === 16);
        const y = block.forward(x);
        const [std] = fixture("std");
        const error = largestDifference(sampled(await y.data()), fixture("y")) / std;
        let text = `output differs by ${error.toExponential(1)} of its standard deviation`;
        assert(error < 1e-4, text);
        if (grid === 16) {
          sum(mul(y, make(`dy.${grid}`, 1))).backward();
          const worst = { name: "", error: 0 };
          for (const [name, { grad }] of [["x", x] as const, ...block.namedParameters()]) {
            const own = sampled(await grad!.data(), name === "x" ? 997 : 199);
            const error = relativeError(own, fixture(`gradient.${name}`));
            if (!(error <= worst.error)) Object.assign(worst, { name, error });
          }
          text += `, gradients by at most ${worst.error.toExponential(1)} (${worst.name})`;
          assert(worst.error < 1e-3, text);
          x.zeroGrad();
        }
        console.log(text);
      }
      block.dispose();
      gpu.trim();
    });
  }
}

for (const side of [512, 1024]) {
  Deno.test(`SAM ViT-B at side ${side} gives segment_anything's embedding, logits and IoU`, async () => {
    const { expected } = fixtures("b");
    const empty = new Sam(gpu, {
      imageEncoder: new ImageEncoderViT(gpu),
      promptEncoder: new PromptEncoder(gpu),
      maskDecoder: new MaskDecoder(gpu),
    });
    const weights = seededState(empty);
    empty.dispose();
    gpu.trim();
    const sam = await buildSam(gpu, MODELS.vit_b, {
      weights: hostWeights(weights, "the state"),
      side,
    });
    const before = performance.now();
    const text = await compareForward(sam, {
      side,
      samples: 4001,
      expected: (name) => expected(`${side}.${name}`),
    });
    const seconds = (performance.now() - before) / 1000;
    const rounding = expected(`${side}.float32_embedding_error`)[0] /
      expected(`${side}.embedding_std`)[0];
    console.log(
      `${text}; PyTorch's own float32 embedding differs by ${rounding.toExponential(1)}; ` +
        `${seconds.toFixed(0)} s, ${(gpu.memory.peakBytes / 2 ** 30).toFixed(2)} GiB on the device`,
    );
    sam.dispose();
    gpu.trim();
  });
}
