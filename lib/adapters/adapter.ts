import { excerpt, InputError } from "../errors.ts";
import { checkValues, LARGEST } from "../nn/host_state.ts";
import { areTransformersNames, holderOf, officialName, transformersName } from "../sam/names.ts";
import { float16Tensor, float32Tensor, type RawTensor, toFloat32 } from "../formats/raw_tensor.ts";
import { encodeSafetensors, parseSafetensors } from "../formats/safetensors.ts";
import type { StateDict } from "../formats/state_dict.ts";
import { formatAdapterConfig, parseAdapterConfig } from "./config.ts";
import type { AdapterConfig, AdapterMethod, LayerTensors } from "./method.ts";
import { METHODS, parseTensorName } from "./methods.ts";

/** Prefix that PEFT puts before the paths of a wrapped model. */
const PREFIX = "base_model.model.";

/** A trained adapter, as a PEFT folder holds it. */
export interface Adapter {
  /** PEFT's config; null if whole modules were trained and nothing adapted. */
  readonly config: AdapterConfig | null;
  /** Text of the config, if it was read from a file. */
  readonly configText?: string;
  /** The trained tensors as they are stored, by their names without PEFT's prefix. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** The free text of the safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Its origin, for messages. */
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

/** Names of the files of a PEFT folder. */
export const ADAPTER_FILES = {
  weights: "adapter_model.safetensors",
  config: "adapter_config.json",
} as const;

/** Contents of the files of a PEFT folder. */
export interface AdapterFiles {
  /** Of `adapter_model.safetensors`. */
  readonly weights: Uint8Array;
  /** Of `adapter_config.json`; null if there is none, because nothing is adapted. */
  readonly config: string | null;
}

/** The files of a PEFT folder. What {@linkcode parseAdapter} read comes out bit for bit. */
export function encodeAdapter({ config, configText, tensors, metadata }: Adapter): AdapterFiles {
  const prefixed = new Map([...tensors].map(([name, tensor]) => [PREFIX + name, tensor]));
  return {
    weights: encodeSafetensors(prefixed, { metadata }),
    config: config && (configText ?? formatAdapterConfig(config)),
  };
}

/**
 * Reads the files of a PEFT folder. Nothing is checked against a model: `applyAdapter` does that.
 *
 * @param options.source The folder's name, for messages.
 * @throws {InputError} if a file is missing, damaged or not of an adapter, or a tensor holds NaN, infinity
 *   or absurd values.
 */
export function parseAdapter(files: AdapterFiles, { source }: { source: string }): Adapter {
  const path = `${source}/${ADAPTER_FILES.weights}`;
  const { tensors: prefixed, metadata } = parseSafetensors(files.weights, { source: path });
  const tensors = new Map<string, RawTensor>();
  for (const [name, tensor] of prefixed) {
    if (!name.startsWith(PREFIX)) {
      throw new InputError(
        `${path} holds ${
          excerpt(name)
        }, which lacks PEFT's prefix ${PREFIX}: give a folder with an adapter`,
      );
    }
    checkValues(toFloat32(tensor), { name, source: path, limit: LARGEST.adapter });
    tensors.set(name.slice(PREFIX.length), tensor);
  }
  const { config: configText } = files;
  if (configText === null) {
    if ([...tensors.keys()].some(parseTensorName)) throw missingConfig(source);
    return { config: null, tensors, metadata, source };
  }
  const config = parseAdapterConfig(configText, { source: `${source}/${ADAPTER_FILES.config}` });
  return { config, configText, tensors, metadata, source };
}

/** The error of adapted layers without a config. */
export function missingConfig(source: string): InputError {
  return new InputError(`${source} has no ${ADAPTER_FILES.config}: get the folder again`);
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

/** The tensors of an adapter, sorted by layer. */
export interface AdapterParts {
  /** The adapted layers by their paths in the adapter's file. */
  readonly layers: ReadonlyMap<string, LayerTensors>;
  /** Tensors of modules that were trained as a whole, by their paths in the adapter's file. */
  readonly saved: ReadonlyMap<string, RawTensor>;
  /** A path of the file under segment_anything's name. */
  readonly official: (path: string) => string;
  /** A path of segment_anything's Sam under the file's name. */
  readonly inFile: (path: string) => string;
  /** True of a path of segment_anything's Sam within what PEFT wrapped: the whole, or the image encoder. */
  readonly covers: (path: string) => boolean;
}

/**
 * Sorts an adapter's tensors by layer.
 *
 * @throws {InputError} naming a layer of which a tensor is missing or misshapen, or a tensor that is
 *   not of the config's method.
 */
export function adapterParts({ config, tensors, source }: Adapter): AdapterParts {
  const found = new Map<string, { method: AdapterMethod; tensors: Map<string, RawTensor> }>();
  const saved = new Map<string, RawTensor>();
  for (const [name, raw] of tensors) {
    const parsed = parseTensorName(name);
    if (!parsed) {
      if (METHODS.some(({ prefix }) => name.startsWith(prefix) || name.includes(`.${prefix}`))) {
        throw new InputError(
          `${source} holds ${
            excerpt(name)
          }, which is not of an adapted Linear: give an adapter of Linears`,
        );
      }
      saved.set(name, raw);
      continue;
    }
    const { layer, tensor, method } = parsed;
    const known = found.get(layer)?.method.peftType ?? config?.peft_type ?? method.peftType;
    if (method.peftType !== known) {
      throw new InputError(
        `${source} holds ${excerpt(name)}, which is no tensor of a ${known} adapter: ` +
          `use config and weights of one adapter`,
      );
    }
    if (!found.has(layer)) found.set(layer, { method, tensors: new Map() });
    found.get(layer)!.tensors.set(tensor.name, raw);
  }
  const layers = new Map(
    [...found].map(([path, { method, tensors }]) => [
      path,
      layerTensors(method, tensors, `${source}: ${excerpt(path)}`),
    ]),
  );
  return { layers, saved, ...adapterPaths([...layers.keys(), ...saved.keys()], config) };
}

/** Beginnings of paths within SAM's image encoder, which may have been wrapped alone. */
const ENCODER_PATHS: readonly (readonly [pattern: RegExp, encoder: string])[] = [
  [
    /^(blocks\.\d|layers\.\d+\.(blocks|downsample)\.|patch_embed\.(proj|seq)\b|neck\.\d)/,
    "image_encoder.",
  ],
  [
    /^(layers\.\d+\.(attn|mlp|layer_norm)|patch_embed\.projection|neck\.(conv|layer_norm))/,
    "vision_encoder.",
  ],
];

/** The names of paths in the file and in segment_anything, whatever held the model that PEFT wrapped. */
function adapterPaths(
  names: readonly string[],
  config: AdapterConfig | null,
): Pick<AdapterParts, "official" | "inFile" | "covers"> {
  // PEFT's prefix twice, a module that holds SAM, a wrapper of it.
  const holder = names.some((name) => holderOf([name]) !== "")
    ? holderOf(names)
    : /^((base_model\.model|module|_orig_mod|model)\.)*/.exec(names[0] ?? "")![0];
  const bare = names.filter((name) => name.startsWith(holder)).map((name) =>
    name.slice(holder.length)
  );
  const encoder = ENCODER_PATHS.find(([pattern]) => bare.some((name) => pattern.test(name)))?.[1] ??
    "";
  // The config first: layers.0 of a perceptron of the mask decoder is another layer in each library.
  const transformers = savedOnTransformers(config) || encoder === "vision_encoder." ||
    areTransformersNames(bare);
  return {
    official: (path) => {
      if (!path.startsWith(holder)) return path;
      const own = encoder + path.slice(holder.length);
      return transformers ? officialName(own) : own;
    },
    inFile: (path) => {
      const own = transformers ? transformersName(path) : path;
      return holder + (own.startsWith(encoder) ? own.slice(encoder.length) : own);
    },
    covers: (path) => encoder === "" || path.startsWith("image_encoder."),
  };
}

/** Reads the sizes of a layer off the shapes of its tensors, which must agree. */
function layerTensors(
  method: AdapterMethod,
  tensors: ReadonlyMap<string, RawTensor>,
  subject: string,
): LayerTensors {
  const sizes = new Map<"r" | "in" | "out", number>();
  for (const { name, shape, when } of method.tensors) {
    const raw = tensors.get(name);
    if (!raw && when) continue;
    if (!raw) throw new InputError(`${subject} lacks its ${name}: get the adapter again`);
    if (raw.shape.length !== shape.length || raw.shape.includes(0)) {
      throw new InputError(
        `${subject} is no Linear, as its ${name} has shape [${
          excerpt(String(raw.shape))
        }]: give an adapter of Linears`,
      );
    }
    for (const [i, axis] of shape.entries()) {
      const size = sizes.get(axis) ?? raw.shape[i];
      sizes.set(axis, size);
      if (size === raw.shape[i]) continue;
      throw new InputError(
        `${subject} has a ${name} of shape [${raw.shape}], which does not fit its other tensors: ` +
          `get the adapter again`,
      );
    }
  }
  const [rank, inFeatures, outFeatures] = (["r", "in", "out"] as const).map((axis) =>
    sizes.get(axis)!
  );
  return { rank, inFeatures, outFeatures, tensors };
}

/** True if PEFT noted that the model it wrapped was transformers'. */
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
      const parsed = parseTensorName(name);
      const own = parsed ? `${official(parsed.layer)}.${parsed.tensor.name}` : official(name);
      return [own, { shape: raw.shape, data: toFloat32(raw) }];
    }),
  );
}
