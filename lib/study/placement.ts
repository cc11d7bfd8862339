import { parseTensorName } from "../adapters/methods.ts";
import type { Sam } from "../sam/sam.ts";
import type { PlacedPart } from "./results.ts";

const BLOCK =
  /^(image_encoder\.(?:layers\.\d+\.)?blocks\.\d+|mask_decoder\.transformer\.layers\.\d+)\./;

/** The trained parts of a model, block by block, in the order of its parameters. */
export function describePlacement(sam: Sam): PlacedPart[] {
  const parts = new Map<
    string,
    { parameters: number; trained: number; adapters: Map<string, number> }
  >();
  for (const [path, tensor] of sam.namedParameters()) {
    const own = BLOCK.exec(path)?.[1] ??
      path.split(".").slice(0, path.startsWith("image_encoder.") ? 2 : 1).join(".");
    const part = parts.get(own) ?? { parameters: 0, trained: 0, adapters: new Map() };
    parts.set(own, part);
    const layer = parseTensorName(path)?.layer;
    if (layer) {
      const name = layer.slice(own.length + 1);
      part.adapters.set(name, (part.adapters.get(name) ?? 0) + tensor.size);
    } else {
      part.parameters += tensor.size;
      if (tensor.isParameter) part.trained += tensor.size;
    }
  }
  return [...parts].map(([part, { adapters, ...rest }]) => ({
    part,
    ...rest,
    adapters: Object.fromEntries(adapters),
  }));
}
