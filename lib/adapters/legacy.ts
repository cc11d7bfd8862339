import { excerpt, InputError } from "../errors.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { WeightSource } from "../nn/weight_source.ts";
import { type Adapter, createAdapter } from "./adapter.ts";
import { holderOf, isWeight, unwrapped } from "../sam/names.ts";
import { newAdapterConfig } from "./config.ts";

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
  { writers: "finetune-SAM", matches: (name) => LINEAR.test(name), read: readLinears },
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
    const read = (matrix: "a" | "b", shape: readonly number[]) =>
      Promise.all([0, 1].map((part) => findFlat(file, matrix, 2 * block + part, shape).read()));
    const fused = fuse(await read("a", [rank, dim]), await read("b", [dim, rank]), { rank, dim });
    for (const [name, tensor] of fused) weights.set(`${qkvPath(block)}.${name}`, tensor);
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

/** A and B of one adapter on the fused qkv, from those of the queries and of the values. */
function fuse(
  as: readonly Float32Array[],
  bs: readonly Float32Array[],
  { rank, dim }: { rank: number; dim: number },
): StateDict {
  const a = new Float32Array(2 * rank * dim);
  const b = new Float32Array(3 * dim * 2 * rank);
  for (const part of [0, 1]) {
    a.set(as[part], part * rank * dim);
    for (let row = 0; row < dim; row++) {
      const at = (2 * part * dim + row) * 2 * rank + part * rank;
      b.set(bs[part].subarray(row * rank, (row + 1) * rank), at);
    }
  }
  return new Map([
    ["lora_A.weight", { shape: [2 * rank, dim], data: a }],
    ["lora_B.weight", { shape: [3 * dim, 2 * rank], data: b }],
  ]);
}

/** Names of finetune-SAM's matrices, in place of a qkv that keeps its own as `qkv.qkv`. */
const LINEAR = /^(.*\.qkv)\.linear_[ab]_[qv]\.weight$/;

/**
 * Reads a state dict of finetune-SAM: SAM whole, with `linear_a_q`, `linear_b_q`, `linear_a_v` and `linear_b_v`
 * beside the qkv of its blocks, unscaled as in a flat file. All other tensors are saved as they stand, so
 * that whatever was trained beside the matrices is there.
 */
async function readLinears(file: WeightSource): Promise<Adapter> {
  const { source: path } = file;
  const holder = holderOf([...file.tensors.keys()].map(unwrapped));
  const tensors = new Map(
    [...file.tensors].map(([name, tensor]) => [unwrapped(name).slice(holder.length), tensor]),
  );
  const weights: StateDict = new Map();
  const layers = new Set([...tensors.keys()].flatMap((name) => LINEAR.exec(name)?.[1] ?? []));
  const ranks: Record<string, number> = {};
  for (const layer of layers) {
    const find = (matrix: "a" | "b") =>
      ["q", "v"].map((part) => {
        const name = `${layer}.linear_${matrix}_${part}.weight`;
        const tensor = tensors.get(name);
        if (!tensor) throw new InputError(`${path} lacks ${excerpt(name)}: get the file again`);
        return tensor;
      });
    const [as, bs] = [find("a"), find("b")];
    const [rank, dim] = as[0].shape;
    const fits = [...as.map(({ shape }) => shape), ...bs.map(({ shape }) => shape.toReversed())]
      .every((shape) => shape.length === 2 && shape[0] === rank && shape[1] === dim);
    if (!fits) {
      throw new InputError(
        `${path}: the matrices of ${excerpt(layer)} do not fit: get the file again`,
      );
    }
    const read = (list: typeof as) => Promise.all(list.map((tensor) => tensor.read()));
    for (const [name, tensor] of fuse(await read(as), await read(bs), { rank, dim })) {
      weights.set(`${layer}.${name}`, tensor);
    }
    ranks[layer.replaceAll(".", "\\.")] = 2 * rank;
  }
  for (const [name, { shape, read }] of tensors) {
    const own = name.replace(/\.qkv\.qkv\./, ".qkv.");
    if (LINEAR.test(name) || !isWeight(own)) continue;
    weights.set(own, { shape: [...shape], data: await read() });
  }
  const config = newAdapterConfig({
    peft_type: "LORA",
    r: Object.values(ranks)[0],
    lora_alpha: Object.values(ranks)[0],
    rank_pattern: ranks,
    alpha_pattern: ranks,
    target_modules: [...layers],
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
