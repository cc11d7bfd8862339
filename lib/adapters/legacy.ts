import { excerpt, InputError } from "../errors.ts";
import { encodeSafetensors } from "../formats/safetensors.ts";
import { float32Tensor, type RawTensor, toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { WeightSource } from "../nn/weight_source.ts";
import { type Adapter, adapterParts, createAdapter } from "./adapter.ts";
import { newAdapterConfig } from "./config.ts";
import { scalingOf } from "./lora.ts";
import type { LayerTensors } from "./method.ts";
import { sizesOf } from "./targets.ts";

/** A layout of LoRA files older than PEFT's. */
interface LegacyLayout {
  /** Programs that write it, for messages. */
  readonly writers: string;
  /** True if a tensor of this name shows the layout. */
  matches(name: string): boolean;
  /** Reads the tensors as an adapter. */
  read(file: WeightSource): Promise<Adapter>;
}

/** The known layouts, one row each. */
const LAYOUTS: readonly LegacyLayout[] = [
  { writers: "Sam_LoRA or SAMed", matches: (name) => /^w_[ab]_\d+$/.test(name), read: readFlat },
];

/**
 * Reads a LoRA file of a layout other than PEFT's, of safetensors or of torch.save.
 *
 * @throws {InputError} if the file is damaged or of no known layout.
 */
export async function readLegacyAdapter(file: WeightSource): Promise<Adapter> {
  const names = [...file.tensors.keys()];
  const layout = LAYOUTS.find(({ matches }) => names.some(matches));
  if (layout) return await layout.read(file);
  throw new InputError(
    `${file.source} holds no adapter of a known layout: give a PEFT folder, or a LoRA file of ` +
      LAYOUTS.map(({ writers }) => writers).join(", "),
  );
}

/** The adapted layer of a block of SAM's ViT. */
const qkvPath = (block: number) => `image_encoder.blocks.${block}.attn.qkv`;

/** A legacy tensor's name: q of block i has index 2 i, v has 2 i + 1. */
const legacyName = (matrix: "a" | "b", index: number) =>
  `w_${matrix}_${String(index).padStart(3, "0")}`;

/**
 * Reads a flat file (`w_a_000`, `w_b_000`, …): for each block of the ViT an A and a B for the queries
 * and for the values, unscaled. Each block becomes one adapter on the fused qkv, A = [A_q; A_v],
 * B = [[B_q, 0], [0, 0], [0, B_v]], of rank 2 r and lora_alpha 2 r: the same update exactly. Tensors of
 * the prompt encoder and the mask decoder in the file become modules to save.
 */
async function readFlat(file: WeightSource): Promise<Adapter> {
  const { source: path, tensors } = file;
  const weights: StateDict = new Map();
  const flat = new Set(tensors.keys().filter((name) => /^w_[ab]_\d+$/.test(name)));
  const blocks = flat.size / 4;
  if (!Number.isInteger(blocks)) {
    throw new InputError(
      `${path} holds ${flat.size} tensors named w_a_… and w_b_…, not four for each block: ` +
        `give a LoRA file of Sam_LoRA or SAMed`,
    );
  }
  const [rank, dim] = findFlat(file, "a", 0, null).shape;
  for (let block = 0; block < blocks; block++) {
    const a = new Float32Array(2 * rank * dim);
    const b = new Float32Array(3 * dim * 2 * rank);
    for (const part of [0, 1]) {
      a.set(await findFlat(file, "a", 2 * block + part, [rank, dim]).read(), part * rank * dim);
      const own = await findFlat(file, "b", 2 * block + part, [dim, rank]).read();
      for (let row = 0; row < dim; row++) {
        const at = (2 * part * dim + row) * 2 * rank + part * rank;
        b.set(own.subarray(row * rank, (row + 1) * rank), at);
      }
    }
    weights.set(`${qkvPath(block)}.lora_A.weight`, { shape: [2 * rank, dim], data: a });
    weights.set(`${qkvPath(block)}.lora_B.weight`, { shape: [3 * dim, 2 * rank], data: b });
  }
  const saved = new Set<string>();
  for (const [name, { shape, read }] of tensors) {
    if (flat.has(name)) continue;
    const [part] = name.split(".");
    if (part !== "prompt_encoder" && part !== "mask_decoder") {
      throw new InputError(
        `${path} holds ${excerpt(name)}, which no LoRA file of Sam_LoRA or SAMed has`,
      );
    }
    saved.add(part);
    weights.set(name, { shape: [...shape], data: await read() });
  }
  const config = newAdapterConfig({
    peft_type: "LORA",
    r: 2 * rank,
    lora_alpha: 2 * rank,
    target_modules: ["attn.qkv"],
    modules_to_save: saved.size > 0 ? [...saved].sort() : null,
  });
  return createAdapter(config, weights, { source: path });
}

/** A or B of a flat file, of the shape given; null for the first, whose sizes the others must have. */
function findFlat(
  { source: path, tensors }: WeightSource,
  matrix: "a" | "b",
  index: number,
  shape: readonly number[] | null,
) {
  const name = legacyName(matrix, index);
  const tensor = tensors.get(name);
  if (!tensor) throw new InputError(`${path} lacks ${name}: get the file again`);
  const fits = tensor.shape.length === 2 &&
    tensor.shape.every((n, i) => n > 0 && n === (shape ?? tensor.shape)[i]);
  if (fits) return tensor;
  const expected = shape ? ` instead of [${shape}]` : "";
  throw new InputError(
    `${path}: ${name} has shape [${excerpt(tensor.shape.join(","))}]${expected}: ` +
      `give a LoRA file of Sam_LoRA or SAMed`,
  );
}

/**
 * The bytes of a flat file for Sam_LoRA and SAMed. That is possible where an adapter sits on the qkv
 * of every block and each B has the form [[B_q, 0], [0, 0], [0, B_v]]; a scaling other than 1 goes
 * into B.
 *
 * @throws {InputError} naming the first module that does not allow it.
 */
export function encodeLegacyLora(adapter: Adapter): Uint8Array {
  const { config } = adapter;
  const { layers, saved, official } = adapterParts(adapter);
  if (!config || layers.size === 0) return refuse(adapter.source, "has no adapter");
  if (config.peft_type !== "LORA") return refuse(adapter.source, `is of type ${config.peft_type}`);
  const byName = new Map([...layers].map(([path, layer]) => [official(path), { path, layer }]));
  const stray = [...byName.keys()].find((name) =>
    !/^image_encoder\.blocks\.\d+\.attn\.qkv$/.test(name)
  );
  if (stray !== undefined) refuse(stray, "is not the qkv of a block");

  const flat = new Map<string, RawTensor>();
  const second = new Map<string, RawTensor>();
  for (let block = 0; block < byName.size; block++) {
    const name = qkvPath(block);
    const entry = byName.get(name);
    if (!entry) return refuse(name, "has no adapter although a later block has");
    const { alpha } = sizesOf(entry.path, config, "lora_alpha");
    const scaling = scalingOf({ rank: entry.layer.rank, alpha, use_rslora: config.use_rslora });
    const { rank, dim, a, parts } = splitLayer(name, entry.layer, scaling);
    for (const part of [0, 1]) {
      const own = a.slice(part * rank * dim, (part + 1) * rank * dim);
      flat.set(legacyName("a", 2 * block + part), float32Tensor([rank, dim], own));
      second.set(legacyName("b", 2 * block + part), float32Tensor([dim, rank], parts[part]));
    }
  }
  const rest = [...saved].map(([name, raw]) => [official(name), raw] as const);
  const all = [...flat, ...second, ...rest].sort(([x], [y]) => x < y ? -1 : 1);
  return encodeSafetensors(new Map(all));
}

function refuse(path: string, reason: string): never {
  throw new InputError(
    `${path} ${reason}, which the flat format of Sam_LoRA cannot hold: save a PEFT folder instead`,
  );
}

/** A of a block and the scaled [B_q, B_v] that its B consists of. */
function splitLayer(
  name: string,
  { rank: rows, inFeatures: dim, outFeatures, tensors }: LayerTensors,
  scaling: number,
): { rank: number; dim: number; a: Float32Array; parts: Float32Array[] } {
  const rank = rows / 2;
  if (tensors.has("lora_magnitude_vector")) refuse(name, "is weight-decomposed (DoRA)");
  if (!Number.isInteger(rank)) refuse(name, `is of the odd rank ${rows}`);
  if (outFeatures !== 3 * dim) refuse(name, `has ${outFeatures} rows in B`);
  const b = toFloat32(tensors.get("lora_B.weight")!);
  const parts = [new Float32Array(dim * rank), new Float32Array(dim * rank)];
  for (let row = 0; row < 3 * dim; row++) {
    for (let column = 0; column < rows; column++) {
      const value = b[row * rows + column];
      const part = column < rank ? 0 : 1;
      if (Math.floor(row / dim) === 2 * part) {
        parts[part][(row % dim) * rank + column % rank] = scaling * value;
      } else if (value !== 0) {
        const where = ["queries", "keys", "values"][Math.floor(row / dim)];
        refuse(name, `changes ${where} through column ${column} of B`);
      }
    }
  }
  return { rank, dim, a: toFloat32(tensors.get("lora_A.weight")!), parts };
}
