import { inForm } from "../element.ts";
import { type OperandForm, operandSuffix, withOperands } from "../operands.ts";
import { type BufferType, f32, type Kernel, u32 } from "../spec.ts";
import scalarChannels from "./channels_scalar.wgsl" with { type: "text" };
import vec4Channels from "./channels_vec4.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import delta from "./delta.wgsl" with { type: "text" };
import keys from "./keys.wgsl" with { type: "text" };
import queries from "./queries.wgsl" with { type: "text" };
import queryGradient from "./query_gradient.wgsl" with { type: "text" };
import type { AttentionTile, KernelTarget } from "../target.ts";
import { registers, type RegisterUse } from "./registers.ts";
import subgroupForward from "./subgroup_forward.wgsl" with { type: "text" };
import subgroupKeyValue from "./subgroup_key_value.wgsl" with { type: "text" };
import subgroupQuery from "./subgroup_query.wgsl" with { type: "text" };
import table from "./table.wgsl" with { type: "text" };
import tiled from "./tiled.wgsl" with { type: "text" };
import tiledForward from "./tiled_forward.wgsl" with { type: "text" };
import tiledKeyValue from "./tiled_key_value.wgsl" with { type: "text" };
import tiledQuery from "./tiled_query.wgsl" with { type: "text" };
import walkGrid from "./walk_grid.wgsl" with { type: "text" };
import walkLinear from "./walk_linear.wgsl" with { type: "text" };

/** Codes of `BIAS`: what is added to the scores; common.wgsl has the formulas. */
export const attentionBiases = { no_bias: 0, table: 1, relative: 2 } as const;

/** Channels of a head at most: the kernels have registers for so many. */
const MAXIMUM_DEPTH = 128;

const params = {
  ...u32("batch", "heads", "image_h", "image_w", "size_h", "size_w", "windows_y", "windows_x"),
  ...u32("others", "rows", "q_offset", "k_offset", "v_offset", "q_row", "k_row", "v_row"),
  ...u32("head", "out_row", "out_head", "pad_row", "rel_row", "rel_w"),
  ...f32("scale"),
};

/** Fields of the attention kernels' `Params`; common.wgsl says what they mean. */
export type AttentionParameters = keyof typeof params;

/** Buffers that the scores, or the gradients of scores, are made of. */
const scored = {
  q: "texel Element",
  k: "texel Element",
  v: "texel Element",
  bias: "texel f32",
} as const;
const differentiated = { ...scored, dout: "texel Element" } as const;

/** Buffers of each kernel. Any buffer does as `bias` if there is none, and as `dv` if it lies in `dk`. */
const buffers = {
  forward: { ...scored, rows: "read_write f32", out: "write Element" },
  delta: { out: "texel Element", dout: "texel Element", rows: "read_write f32" },
  query: {
    ...differentiated,
    rows: "read_write f32",
    dq: "write Element",
    drelative: "read_write f32",
  },
  keyValue: { ...differentiated, rows: "texel f32", dk: "write Element", dv: "write Element" },
  table: { ...differentiated, rows: "texel f32", dbias: "read_write f32" },
} as const satisfies Record<string, Record<string, BufferType>>;

/** The kernels of one variant by their use, each with its own buffers. */
export type AttentionKernels = {
  readonly [Use in keyof typeof buffers]: Kernel<
    keyof typeof buffers[Use] & string,
    AttentionParameters
  >;
};

/** Sizes and layout that kernels are made for. */
export interface AttentionVariant {
  /** Channels of a head. */
  readonly depth: number;
  /** Lanes of a subgroup, 0 if shaders cannot rely on it. */
  readonly lanes: number;
  /** Blocks of four tokens that a workgroup of the forward pass or of a gradient owns. */
  readonly blocks: number;
  /** Form of the products' operands; `f32` by default. */
  readonly operands?: OperandForm;
  /** True if blocks of four tokens run on from line to line: if no relative positions are added. */
  readonly linear: boolean;
}

/** WGSL by the name of its file. */
type Files = Readonly<Record<string, string>>;

/** A way to compute attention. */
interface Family {
  /** Part of its kernels' names. */
  readonly name: string;
  /** Lanes of a subgroup that it is made for; none if it needs no subgroups. */
  readonly lanes: readonly number[];
  /** Tiles for a device. */
  readonly tiles: (target: KernelTarget) => readonly AttentionTile[];
  /** Files of its kernels, beside those that all share. */
  readonly files: (
    variant: AttentionVariant,
  ) => Readonly<Record<"forward" | "query" | "keyValue", Files>>;
}

/** Families by preference: the first one that is made for the device's subgroups. */
const FAMILIES: readonly Family[] = [
  {
    name: "subgroup",
    lanes: [4, 8, 16],
    tiles: ({ lanes }) => [{ blocks: lanes, speed: 1 }],
    files: (variant) => {
      const held = (use: RegisterUse) => ({
        "text of attention/registers.ts": registers(variant, use),
      });
      const walk: Files = variant.linear
        ? { "attention/walk_linear.wgsl": walkLinear }
        : { "attention/walk_grid.wgsl": walkGrid };
      return {
        forward: {
          ...held({ own: ["q"], others: ["k", "v"], written: ["out"] }),
          ...walk,
          "attention/subgroup_forward.wgsl": subgroupForward,
        },
        query: {
          ...held({ own: ["q", "dout"], others: ["k", "v"], written: ["dq"] }),
          ...walk,
          "attention/subgroup_query.wgsl": subgroupQuery,
        },
        keyValue: {
          ...held({ own: ["k", "v"], others: ["q", "dout"], written: ["dk", "dv"] }),
          "attention/subgroup_key_value.wgsl": subgroupKeyValue,
        },
      };
    },
  },
  {
    name: "tiled",
    lanes: [],
    tiles: ({ attention }) => attention,
    files: () => ({
      forward: { "attention/tiled.wgsl": tiled, "attention/tiled_forward.wgsl": tiledForward },
      query: { "attention/tiled.wgsl": tiled, "attention/tiled_query.wgsl": tiledQuery },
      keyValue: { "attention/tiled.wgsl": tiled, "attention/tiled_key_value.wgsl": tiledKeyValue },
    }),
  },
];

const made = new Map<string, AttentionKernels>();

/**
 * Kernels of a variant, always the same objects.
 *
 * @throws {RangeError} if heads have more channels than the kernels have registers for.
 */
export function attentionKernels(variant: AttentionVariant): AttentionKernels {
  const { depth, lanes, blocks, linear, operands = "f32" } = variant;
  if (depth > MAXIMUM_DEPTH) {
    throw new RangeError(`attention: heads of ${depth} channels, at most ${MAXIMUM_DEPTH}`);
  }
  const key = [depth, lanes, blocks, linear, operands].join();
  let kernels = made.get(key);
  if (!kernels) made.set(key, kernels = make(variant));
  return kernels;
}

/** Tiles to choose from on a device. */
export function attentionTiles(target: KernelTarget): readonly AttentionTile[] {
  return familyOf(target).tiles(target);
}

function familyOf({ lanes }: { readonly lanes: number }): Family {
  return FAMILIES.find(({ lanes: made }) => !made.length || made.includes(lanes))!;
}

function make(variant: AttentionVariant): AttentionKernels {
  const { depth, lanes, blocks, linear, operands = "f32" } = variant;
  const form = depth % 4 === 0 ? "vec4" : "scalar";
  const family = familyOf(variant);
  const suffix = `${family.name}_${depth}${form === "vec4" ? "" : "_scalar"}${
    linear ? "" : "_grid"
  }${family.lanes.length > 0 ? "" : `_${4 * blocks}`}${operandSuffix(operands)}`;
  const define = <Buffers extends string>(
    name: string,
    buffers: Readonly<Record<Buffers, BufferType>>,
    files: Files,
  ): Kernel<Buffers, AttentionParameters> => {
    const kernel: Kernel<Buffers, AttentionParameters> = {
      name: `${name}_${suffix}`,
      files: {
        "attention/common.wgsl": common,
        [`attention/channels_${form}.wgsl`]: form === "vec4" ? vec4Channels : scalarChannels,
        ...files,
      },
      consts: {
        ...attentionBiases,
        depth,
        quads: Math.ceil(depth / 4),
        lanes,
        own_blocks: blocks,
        linear,
      },
      buffers,
      optional: {
        q: "Element",
        k: "Element",
        v: "Element",
        out: "Element",
        dout: "Element",
        dq: "Element",
        dk: "Element",
        dv: "Element",
        bias: "f32",
      },
      params,
    };
    return inForm(withOperands(kernel, operands), form);
  };
  const own = family.files(variant);
  const byQueries = { "attention/queries.wgsl": queries };
  return {
    forward: define("attention", buffers.forward, { ...byQueries, ...own.forward }),
    delta: define("attention_delta", buffers.delta, { "attention/delta.wgsl": delta }),
    query: define("attention_query", buffers.query, {
      ...byQueries,
      "attention/query_gradient.wgsl": queryGradient,
      ...own.query,
    }),
    keyValue: define("attention_key_value", buffers.keyValue, {
      "attention/keys.wgsl": keys,
      ...own.keyValue,
    }),
    table: define("attention_table", buffers.table, { "attention/table.wgsl": table }),
  };
}
