import { readSafetensors, toStateDict } from "./safetensors.ts";
import type { StateDict } from "./state_dict.ts";

/**
 * SAM's weights from a file, under the official names (`image_encoder.…`, `prompt_encoder.…`,
 * `mask_decoder.…`).
 *
 * @param path A safetensors file with the tensors of segment_anything's `Sam`.
 * @throws {InputError} if the file cannot be read or is damaged.
 */
export async function loadSamWeights(path: string): Promise<StateDict> {
  return toStateDict(await readSafetensors(path));
}
