import { openPretrained } from "../../lib/files/pretrained.ts";
import { openWeights } from "../../lib/formats/weights.ts";
import { openBytes } from "../../lib/fs.ts";
import type { StateDict } from "../../lib/formats/state_dict.ts";
import type { Shape } from "../../lib/tensor/shape.ts";
import { gpu } from "../gpu.ts";
import { readWeights, type WeightSource } from "../../lib/nn/weight_source.ts";
import { emptySam } from "../../lib/sam/build_sam.ts";
import { MODELS } from "../../lib/sam/models.ts";
import { officialWeights } from "../../lib/sam/official_weights.ts";

/** MobileSAM's published weights in host memory, under the official names. */
export async function mobileSamState(): Promise<StateDict> {
  return new Map(
    await readWeights(await openPretrained({ model: "mobile_sam", weights: null })),
  );
}

/** The shapes of MobileSAM's tensors by their official names. */
export function mobileSamShapes(): Map<string, Shape> {
  const sam = emptySam(gpu, MODELS.mobile_sam);
  const shapes = new Map([...sam.namedParameters()].map(([name, { shape }]) => [name, shape]));
  sam.dispose();
  return shapes;
}

/** Opens a file of weights under the official names. */
export async function openSamWeights(path: string): Promise<WeightSource> {
  return officialWeights(await openWeights(openBytes(path)));
}
