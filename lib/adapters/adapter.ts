import { join } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import { type AdapterConfig, formatAdapterConfig, parseAdapterConfig } from "./adapter_config.ts";
import { encodeRawSafetensors, float16Tensor, float32Tensor } from "../formats/raw_safetensors.ts";
import { type RawTensor, toFloat32 } from "../formats/raw_tensor.ts";
import { readSafetensors } from "../formats/safetensors.ts";
import type { StateDict } from "../formats/state_dict.ts";
import { areTransformersNames, officialName, transformersName } from "../sam/transformers_names.ts";

/** Prefix that PEFT puts before the paths of a wrapped model. */
const PREFIX = "base_model.model.";

/** A trained adapter, as a PEFT folder holds it. */
export interface Adapter {
  /** What kind of adapter it is; null if whole modules were trained and nothing adapted. */
  readonly config: AdapterConfig | null;
  /** The config's own text, where it was read from a file. */
  readonly configText?: string;
  /** The trained tensors as they are stored, by their names without PEFT's prefix. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** The free text of the safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Where it came from, for messages. */
  readonly source: string;
}

/** The text that PyTorch's writers put into a safetensors file. */
const METADATA = { format: "pt" };

/** Makes an adapter of weights in host memory, by their paths in the model. */
export function createAdapter(
  config: AdapterConfig | null,
  weights: StateDict,
  { source }: { source: string },
): Adapter {
  const tensors = new Map(
    [...weights].sort(([a], [b]) => a < b ? -1 : 1)
      .map(([name, { shape, data }]) => [name, float32Tensor(shape, data)]),
  );
  return { config, tensors, metadata: METADATA, source };
}

/**
 * Writes an adapter as a PEFT folder: `adapter_model.safetensors`, and `adapter_config.json` where
 * there is a config. What {@linkcode loadAdapter} read comes out bit for bit.
 *
 * @throws {InputError} if the folder cannot be written to.
 */
export async function saveAdapter(folder: string, adapter: Adapter): Promise<void> {
  const { config, configText, tensors, metadata } = adapter;
  const prefixed = new Map([...tensors].map(([name, tensor]) => [PREFIX + name, tensor]));
  await writeFileAtomic(
    join(folder, "adapter_model.safetensors"),
    encodeRawSafetensors(prefixed, { metadata }),
  );
  if (config) {
    const text = configText ?? formatAdapterConfig(config);
    await writeFileAtomic(join(folder, "adapter_config.json"), text);
  }
}

/**
 * Reads a PEFT folder. Nothing is checked against a model: `applyAdapter` does that.
 *
 * @throws {InputError} if a file is missing, damaged or not of a LoRA adapter.
 */
export async function loadAdapter(folder: string): Promise<Adapter> {
  const path = join(folder, "adapter_model.safetensors");
  const { tensors: prefixed, metadata } = await readSafetensors(path);
  const tensors = new Map<string, RawTensor>();
  for (const [name, tensor] of prefixed) {
    if (!name.startsWith(PREFIX)) {
      throw new InputError(
        `${path} holds ${
          excerpt(name)
        }, which lacks PEFT's prefix ${PREFIX}: give a folder with an adapter`,
      );
    }
    tensors.set(name.slice(PREFIX.length), tensor);
  }
  const configPath = join(folder, "adapter_config.json");
  const adapted = [...tensors.keys()].find((name) => LORA_NAME.test(name));
  let configText: string;
  try {
    configText = await Deno.readTextFile(configPath);
  } catch (error) {
    if (adapted === undefined && error instanceof Deno.errors.NotFound) {
      return { config: null, tensors, metadata, source: folder };
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${configPath} (${reason}): get the adapter's folder again`);
  }
  const config = parseAdapterConfig(configText, { source: configPath });
  return { config, configText, tensors, metadata, source: folder };
}

/**
 * The same adapter in half precision: half the bytes, 11 significant bits, as PEFT reads them too. A
 * tensor with a value beyond f16's range stays as it is.
 */
export function inHalfPrecision(adapter: Adapter): Adapter {
  const tensors = new Map(
    [...adapter.tensors].map(([name, raw]) => [name, float16Tensor(raw) ?? raw]),
  );
  return { ...adapter, tensors };
}

/** The end of the name of a tensor of an adapted layer. */
const LORA_NAME = /^(.*)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)$/;

/** The tensors of one adapted layer. */
export interface LayerTensors {
  /** [r, in] */
  readonly loraA: RawTensor;
  /** [out, r] */
  readonly loraB: RawTensor;
  /** [out], with DoRA. */
  readonly magnitude: RawTensor | null;
}

/** What an adapter holds, sorted out. */
export interface AdapterParts {
  /** The adapted layers by their paths in the adapter's file. */
  readonly layers: ReadonlyMap<string, LayerTensors>;
  /** Tensors of modules that were trained as a whole, by their paths in the adapter's file. */
  readonly saved: ReadonlyMap<string, RawTensor>;
  /** A path of the file under segment_anything's name. */
  readonly official: (path: string) => string;
  /** A path of segment_anything's Sam under the file's name. */
  readonly inFile: (path: string) => string;
}

/**
 * Sorts an adapter's tensors by layer.
 *
 * @throws {InputError} naming a layer of which a tensor is missing or misshapen.
 */
export function adapterParts({ config, tensors, source }: Adapter): AdapterParts {
  const found = new Map<string, Map<string, RawTensor>>();
  const saved = new Map<string, RawTensor>();
  for (const [name, tensor] of tensors) {
    const [, path, part] = LORA_NAME.exec(name) ?? [];
    if (path === undefined) {
      if (/\.lora_|^lora_/.test(name)) {
        throw new InputError(
          `${source} holds ${
            excerpt(name)
          }, which is not of an adapted Linear: give an adapter of Linears`,
        );
      }
      saved.set(name, tensor);
      continue;
    }
    if (!found.has(path)) found.set(path, new Map());
    found.get(path)!.set(part, tensor);
  }
  const layers = new Map<string, LayerTensors>();
  for (const [path, parts] of found) {
    const loraA = parts.get("lora_A.weight");
    const loraB = parts.get("lora_B.weight");
    if (!loraA || !loraB) {
      throw new InputError(
        `${source} lacks ${excerpt(path)}.lora_${loraA ? "B" : "A"}.weight: get the adapter again`,
      );
    }
    const [a, b] = [loraA.shape, loraB.shape];
    if (a.length !== 2 || b.length !== 2 || [...a, ...b].includes(0)) {
      throw new InputError(
        `${source} adapts ${excerpt(path)}, which is no Linear (A has shape [${
          excerpt(String(a))
        }]): give an adapter of Linears`,
      );
    }
    if (a[0] !== b[1]) {
      throw new InputError(
        `${source}: A [${a}] and B [${b}] of ${
          excerpt(path)
        } do not fit together: get the adapter again`,
      );
    }
    layers.set(path, { loraA, loraB, magnitude: parts.get("lora_magnitude_vector") ?? null });
  }
  // The config first: layers.0 of a perceptron of the mask decoder is another layer in each library.
  const transformers = savedOnTransformers(config) ||
    areTransformersNames([...layers.keys(), ...saved.keys()]);
  const same = (path: string) => path;
  return transformers
    ? { layers, saved, official: officialName, inFile: transformersName }
    : { layers, saved, official: same, inFile: same };
}

/** Whether PEFT noted that the model it wrapped was transformers'. */
function savedOnTransformers(config: AdapterConfig | null): boolean {
  const wrapped = config?.auto_mapping as { parent_library?: unknown } | null | undefined;
  const library = wrapped?.parent_library;
  return typeof library === "string" && library.startsWith("transformers");
}

/** The trained tensors of an adapter in float32, under segment_anything's names. */
export function adapterWeights(adapter: Adapter): StateDict {
  const { official } = adapterParts(adapter);
  return new Map(
    [...adapter.tensors].map(([name, raw]) => {
      const [, path, part] = LORA_NAME.exec(name) ?? [];
      const own = path === undefined ? official(name) : `${official(path)}.${part}`;
      return [own, { shape: raw.shape, data: toFloat32(raw) }];
    }),
  );
}
