import { join } from "node:path";
import { InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import { encodeSafetensors, readSafetensors, toStateDict } from "./safetensors.ts";
import type { StateDict } from "./state_dict.ts";

/** Prefix that PEFT puts before the paths of a wrapped model. */
const PREFIX = "base_model.model.";

/** The fields of PEFT's `adapter_config.json` that describe our LoRA. */
export interface AdapterConfig {
  /** Always "LORA". */
  readonly peft_type: "LORA";
  /** Rank. */
  readonly r: number;
  /** The update is scaled by lora_alpha / r. */
  readonly lora_alpha: number;
  /** Dropout on the adapters' input while training. */
  readonly lora_dropout: number;
  /** Suffixes of the paths of the adapted Linears. */
  readonly target_modules: readonly string[];
}

/**
 * Writes trained weights in the layout of a PEFT folder: `adapter_model.safetensors` with the paths of
 * the weights under PEFT's prefix, and `adapter_config.json` where there are LoRA adapters.
 *
 * @param weights By path in the model.
 * @throws {InputError} if the folder cannot be written to.
 */
export async function saveAdapter(
  folder: string,
  weights: StateDict,
  config: AdapterConfig | null,
): Promise<void> {
  const prefixed: StateDict = new Map(
    [...weights].map(([path, tensor]) => [PREFIX + path, tensor]),
  );
  await writeFileAtomic(join(folder, "adapter_model.safetensors"), encodeSafetensors(prefixed));
  if (config) {
    const json = JSON.stringify(config, null, 2) + "\n";
    await writeFileAtomic(join(folder, "adapter_config.json"), json);
  }
}

/**
 * Reads trained weights that {@linkcode saveAdapter} wrote.
 *
 * @throws {InputError} if the file is missing, damaged or not of a PEFT folder.
 */
export async function loadAdapter(folder: string): Promise<StateDict> {
  const path = join(folder, "adapter_model.safetensors");
  const state = toStateDict(await readSafetensors(path));
  const weights: StateDict = new Map();
  for (const [name, tensor] of state) {
    if (!name.startsWith(PREFIX)) {
      throw new InputError(
        `${path} holds ${name}, which lacks PEFT's prefix ${PREFIX}: give a folder with an adapter`,
      );
    }
    weights.set(name.slice(PREFIX.length), tensor);
  }
  return weights;
}
