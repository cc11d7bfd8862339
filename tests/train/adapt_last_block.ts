import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";

/** Adapters in the last block alone: most of the encoder lies before them, and can be cached. */
export async function adaptLastBlock(sam: Sam): Promise<void> {
  await injectLora(sam.imageEncoder, { r: 2, lora_alpha: 2, blocks: [2], random: new Random(0) });
}
