import { join } from "node:path";
import { InputError } from "../errors.ts";
import { readIfThere, writeFileAtomic } from "../fs.ts";
import { type Adapter, ADAPTER_FILES, encodeAdapter, parseAdapter } from "../adapters/adapter.ts";

/**
 * Writes an adapter as a PEFT folder: `adapter_model.safetensors`, and `adapter_config.json` where
 * there is a config. What {@linkcode loadAdapter} read comes out bit for bit.
 *
 * @throws {InputError} if the folder cannot be written to.
 */
export async function saveAdapter(folder: string, adapter: Adapter): Promise<void> {
  const { weights, config } = encodeAdapter(adapter);
  if (config !== null) await writeFileAtomic(join(folder, ADAPTER_FILES.config), config);
  await writeFileAtomic(join(folder, ADAPTER_FILES.weights), weights);
}

/**
 * Reads a PEFT folder. Nothing is checked against a model: `applyAdapter` does that.
 *
 * @throws {InputError} if a file is missing, damaged or not of an adapter.
 */
export async function loadAdapter(folder: string): Promise<Adapter> {
  const weights = await readIfThere(join(folder, ADAPTER_FILES.weights));
  if (!weights) {
    throw new InputError(
      `${folder} has no ${ADAPTER_FILES.weights}: name the folder of an adapter`,
    );
  }
  const config = await readIfThere(join(folder, ADAPTER_FILES.config));
  return parseAdapter(
    { weights, config: config && new TextDecoder().decode(config) },
    { source: folder },
  );
}
