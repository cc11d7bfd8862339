import { encodeAdapter } from "../lib/adapters/adapter.ts";
import { collectAdapter } from "../lib/adapters/apply_adapter.ts";
import { injectLora } from "../lib/adapters/lora.ts";
import { bytesOf } from "../lib/byte_source.ts";
import { toModelInput } from "../lib/data/preprocess.ts";
import { writeTorch } from "../lib/formats/torch_writer.ts";
import { openWeights } from "../lib/formats/weights.ts";
import type { Gpu } from "../lib/gpu/gpu.ts";
import { hostWeights } from "../lib/nn/weight_source.ts";
import { Random } from "../lib/random.ts";
import { buildSam, emptySam } from "../lib/sam/build_sam.ts";
import type { Sam } from "../lib/sam/sam.ts";
import { diceBceLoss } from "../lib/tensor/ops/losses.ts";
import { reshape } from "../lib/tensor/ops/movement.ts";
import { Scope } from "../lib/tensor/scope.ts";
import { Tensor } from "../lib/tensor/tensor.ts";
import { Adam } from "../lib/train/optimizer.ts";
import { randomState, TINY } from "./train/random_sam.ts";

const SIDE = 64;

/** A tiny SAM whose weights are read from a file of torch.save's layout. */
async function readSam(gpu: Gpu): Promise<Sam> {
  const empty = emptySam(gpu, TINY);
  const { tensors } = hostWeights(randomState(empty, new Random("browser")), "state");
  empty.dispose();
  const parts: Uint8Array[] = [];
  const output = new WritableStream<Uint8Array>({ write: (part) => void parts.push(part.slice()) });
  await writeTorch(output, tensors, { source: "tiny.pth" });
  const file = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
  using weights = await openWeights(bytesOf(file, { source: "tiny.pth" }));
  return await buildSam(gpu, TINY, { weights });
}

/** Loss of the mask under a box; its gradients are left in the adapters. */
async function lossOf(sam: Sam): Promise<number> {
  using _ = new Scope(sam.gpu);
  const data = Float32Array.from({ length: SIDE * SIDE }, (_, i) => (i * 37) % 256);
  const input = toModelInput({ data, width: SIDE, height: SIDE }, {
    side: SIDE,
    rule: sam.inputRule,
  });
  const pixels = Tensor.from(sam.gpu, input.data, [1, SIDE, SIDE, 3]);
  const { masks } = sam.decode(sam.imageEncoder.forward(pixels), [{ box: [8, 8, 40, 40] }]);
  const size = SIDE / 4;
  const target = Float32Array.from(
    { length: size * size },
    (_, i) => Number(i % size < 10 && i < 10 * size),
  );
  const { loss } = diceBceLoss(
    reshape(masks, [1, size, size]),
    Tensor.from(sam.gpu, target, [1, size, size]),
  );
  loss.backward();
  return (await loss.data())[0];
}

/**
 * Trains adapters in a tiny MobileSAM for one step.
 *
 * @returns The loss before the step and after it, and the bytes of the adapter as PEFT's file.
 */
export async function trainStep(gpu: Gpu): Promise<{ losses: number[]; bytes: number }> {
  const sam = await readSam(gpu);
  const options = { r: 4, lora_alpha: 4, target_modules: ["attn.qkv"] };
  await injectLora(sam, { ...options, random: new Random(1) });
  using optimizer = new Adam(sam.trainableParameters().map(([, tensor]) => tensor));
  const before = await lossOf(sam);
  optimizer.step(1e-2);
  const after = await lossOf(sam);
  const { weights } = encodeAdapter(await collectAdapter(sam, options));
  sam.dispose();
  return { losses: [before, after], bytes: weights.length };
}
