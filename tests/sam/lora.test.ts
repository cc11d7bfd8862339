import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { InputError } from "../../lib/errors.ts";
import { injectLora, type LoraLinear } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { largestDifference, testImage } from "./images.ts";

/** A normalised picture [1, S, S, 3]. */
function picture(side: number): Tensor {
  const pixels = testImage(side, side).map((value) => (value - 115) / 58);
  return Tensor.from(gpu, pixels, [1, side, side, 3]);
}

function embed(sam: Sam, side: number): Promise<Float32Array> {
  using _ = new Scope(gpu);
  return noGrad(gpu, () => sam.imageEncoder.forward(picture(side))).data();
}

function fillB(adapters: Map<string, LoraLinear>): void {
  const random = new Random("B");
  for (const { lora_B: { weight } } of adapters.values()) {
    weight.write(Float32Array.from({ length: weight.size }, () => 0.1 * random.normal()));
  }
}

Deno.test("the default targets are the ten qkv of the encoder", async () => {
  const sam = await loadSam(gpu);
  const adapters = await injectLora(sam, { r: 2, random: new Random(0) });
  assertEquals(
    [...adapters.keys()],
    [2, 6, 2].flatMap((depth, i) =>
      Array.from({ length: depth }, (_, j) => `image_encoder.layers.${i + 1}.blocks.${j}.attn.qkv`)
    ),
  );
  sam.dispose();
});

Deno.test("any Linear of encoder or decoder can be adapted, and a wrong name lists what there is", async () => {
  const sam = await loadSam(gpu);
  const random = new Random(0);
  const { message } = await assertRejects(
    () => injectLora(sam.imageEncoder, { r: 2, target_modules: ["q_proj"], random }),
    InputError,
  );
  for (const name of ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]) {
    assertStringIncludes(message, name);
  }
  const adapters = await injectLora(sam, {
    r: 2,
    target_modules: String
      .raw`image_encoder\.layers\.3\..*|mask_decoder\.transformer\..*\.(q|v)_proj`,
    random,
  });
  const paths = [...adapters.keys()];
  assertEquals(paths.filter((path) => path.startsWith("image_encoder.")).length, 8);
  assertEquals(paths.filter((path) => path.startsWith("mask_decoder.")).length, 14);
  fillB(adapters);
  using _ = new Scope(gpu);
  const { masks } = sam.decode(sam.imageEncoder.forward(picture(64)), [{ box: [9, 9, 50, 40] }]);
  sum(masks).backward();
  for (const [path, { lora_A, lora_B }] of adapters) {
    assert(lora_A.weight.grad && lora_B.weight.grad, `${path} gets no gradient`);
  }
  sam.dispose();
});

Deno.test("before training an adapted MobileSAM is bit-equal to the vanilla one", async () => {
  const sam = await loadSam(gpu);
  const vanilla = await embed(sam, 256);
  await injectLora(sam.imageEncoder, {
    r: 16,
    lora_alpha: 32,
    target_modules: ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"],
    random: new Random(0),
  });
  const adapted = await embed(sam, 256);
  assertSameBits(adapted, vanilla, "embedding");
  sam.dispose();
});

Deno.test("merged adapters compute the same for the price of none, and unmerge again", async () => {
  const sam = await loadSam(gpu);
  const counted = async () => {
    const before = gpu.dispatches;
    const embedding = await embed(sam, 128);
    return { embedding, dispatches: gpu.dispatches - before };
  };
  const vanilla = await counted();
  const adapters = await injectLora(sam.imageEncoder, { r: 8, random: new Random(0) });
  fillB(adapters);
  const apart = await counted();
  for (const adapter of adapters.values()) adapter.merge();
  const merged = await counted();
  for (const adapter of adapters.values()) adapter.unmerge();
  const unmerged = await counted();

  const effect = largestDifference(apart.embedding, vanilla.embedding);
  assert(effect > 1e-3, `the adapters change the embedding by ${effect} only`);
  assertEquals(merged.dispatches, vanilla.dispatches);
  // x Aᵀ is a product of its own; what B makes of it is part of the layer's.
  assertEquals(apart.dispatches, vanilla.dispatches + adapters.size);
  const error = largestDifference(merged.embedding, apart.embedding);
  const residue = largestDifference(unmerged.embedding, apart.embedding);
  console.log(
    `of an effect of ${effect.toExponential(1)}, largest difference merged ${
      error.toExponential(1)
    }, unmerged ${residue.toExponential(1)}`,
  );
  assert(error < 1e-4, `merging changes the embedding by ${error}`);
  assert(residue < 1e-4, `unmerging leaves a difference of ${residue}`);
  sam.dispose();
});

Deno.test("backward costs nothing for frozen weights and stops at the first trainable one", async () => {
  const sam = await loadSam(gpu);
  const parameters = () => [...sam.namedParameters()];
  /** Dispatches of backward, after a check of who has a gradient. */
  const cost = (trainable: (path: string) => boolean): number => {
    for (const [path, tensor] of parameters()) tensor.setParameter(trainable(path));
    using _ = new Scope(gpu);
    const embedding = sam.imageEncoder.forward(picture(64));
    assertEquals(
      embedding.requiresGrad,
      parameters().some(([path]) => path.startsWith("image_encoder.") && trainable(path)),
    );
    const { masks } = sam.decode(embedding, [{ box: [9, 9, 50, 40] }]);
    const loss = sum(masks);
    const before = gpu.dispatches;
    loss.backward();
    const count = gpu.dispatches - before;
    for (const [path, tensor] of parameters()) {
      if (!trainable(path)) assertEquals(tensor.grad, null, `${path} is frozen`);
      tensor.zeroGrad();
    }
    return count;
  };
  const random = new Random(0);
  const adapters = await injectLora(sam.imageEncoder, { r: 2, random });
  fillB(adapters);
  const everything = cost((path) => !path.endsWith("gaussian_matrix"));
  const decoder = cost((path) => path.startsWith("mask_decoder."));
  const lora = cost((path) => path.includes("lora_"));
  const lastBlock = cost((path) => /layers\.3\.blocks\.1\..*lora_/.test(path));
  const firstBlock = cost((path) => /layers\.1\.blocks\.0\..*lora_/.test(path));
  const neck = cost((path) => path.startsWith("image_encoder.neck."));
  console.log(
    `dispatches of backward: everything ${everything}, all adapters ${lora}, adapter of the first ` +
      `block ${firstBlock}, of the last ${lastBlock}, neck ${neck}, decoder ${decoder}`,
  );
  assert(decoder < everything / 2, `decoder ${decoder} of ${everything}`);
  assert(neck < lastBlock && lastBlock < firstBlock && firstBlock < lora && lora < everything);
  // Along a gradient that passes anyhow, an adapter costs the products for its A and B and nothing else.
  assertEquals(lora - firstBlock, 9 * 2);
  sam.dispose();
});
