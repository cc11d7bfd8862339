import { type Access, defineKernel, type Kernel } from "../spec.ts";
import bandTemplate from "./band.wgsl" with { type: "text" };
import biasSource from "./bias.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import deltaSource from "./delta.wgsl" with { type: "text" };
import drelativeSource from "./drelative.wgsl" with { type: "text" };
import fromSource from "./from.wgsl" with { type: "text" };
import subgroupForward from "./subgroup.wgsl" with { type: "text" };
import subgroupKeyValue from "./subgroup_key_value.wgsl" with { type: "text" };
import subgroupQuery from "./subgroup_query.wgsl" with { type: "text" };
import tableSource from "./table.wgsl" with { type: "text" };
import tiled from "./tiled.wgsl" with { type: "text" };
import tiledForward from "./tiled_forward.wgsl" with { type: "text" };
import tiledKeyValue from "./tiled_key_value.wgsl" with { type: "text" };
import tiledKeys from "./tiled_keys.wgsl" with { type: "text" };
import tiledQuery from "./tiled_query.wgsl" with { type: "text" };
import stageTemplate from "./tiled_stage.wgsl" with { type: "text" };
import walk from "./walk.wgsl" with { type: "text" };

/** Fields of the attention kernels' `Params`; attention_common.wgsl says what they mean. */
export type AttentionParameters = keyof typeof PARAMETERS;

/** Buffers of the forward kernel. Any buffer does as `bias` where there is none. */
export type ForwardBuffers = "q" | "k" | "v" | "bias" | "rows" | "out";

/** Buffers of the kernel of the queries' gradient; `drelative` likewise. */
export type QueryBuffers = "q" | "k" | "v" | "dout" | "bias" | "rows" | "dq" | "drelative";

/** Buffers of the kernel of the keys' and values' gradients; `dv` likewise where it lies in `dk`. */
export type KeyValueBuffers = "q" | "k" | "v" | "dout" | "bias" | "rows" | "dk" | "dv";

/** Buffers of the kernel of the bias table's gradient. */
export type TableBuffers = "q" | "k" | "v" | "dout" | "bias" | "rows" | "dbias";

/** What the kernels are written for. */
export interface AttentionVariant {
  /** Channels of a head. */
  readonly depth: number;
  /** Whether all positions and the depth are multiples of 4. */
  readonly vec4: boolean;
  /** Whether blocks of four tokens run on from row to row: where no relative positions are added. */
  readonly linear: boolean;
  /** Lanes of a subgroup, 0 where shaders cannot rely on it. */
  readonly subgroupSize: number;
}

/** The kernels of one variant. */
export interface AttentionKernels {
  /** Blocks of four tokens that a workgroup of the forward pass or of a gradient owns. */
  readonly blocks: number;
  /** Output and log-sum-exp. */
  readonly forward: Kernel<ForwardBuffers, AttentionParameters>;
  /** Delta, from the output and its gradient. */
  readonly delta: Kernel<"out" | "dout" | "rows", AttentionParameters>;
  /** Gradient with respect to the queries. */
  readonly query: Kernel<QueryBuffers, AttentionParameters>;
  /** Gradients with respect to the keys and values. */
  readonly keyValue: Kernel<KeyValueBuffers, AttentionParameters>;
  /** Gradient with respect to a table of biases. */
  readonly table: Kernel<TableBuffers, AttentionParameters>;
}

const PARAMETERS = {
  batch: "u32",
  heads: "u32",
  image_h: "u32",
  image_w: "u32",
  size_h: "u32",
  size_w: "u32",
  windows_y: "u32",
  windows_x: "u32",
  others: "u32",
  rows: "u32",
  q_offset: "u32",
  k_offset: "u32",
  v_offset: "u32",
  q_row: "u32",
  k_row: "u32",
  v_row: "u32",
  head: "u32",
  out_row: "u32",
  out_head: "u32",
  pad_row: "u32",
  rel_row: "u32",
  rel_w: "u32",
  scale: "f32",
} as const;

/** Lanes for which there is a subgroup kernel. */
const SUBGROUP_LANES: readonly number[] = [8, 16];

const made = new Map<string, AttentionKernels>();

/** The kernels of a variant, always the same objects. */
export function attentionKernels(variant: AttentionVariant): AttentionKernels {
  const key = JSON.stringify([
    variant.depth,
    variant.vec4,
    variant.linear,
    variant.subgroupSize,
  ]);
  let kernels = made.get(key);
  if (!kernels) made.set(key, kernels = make(variant));
  return kernels;
}

/** Bodies of the three kernels in one family. */
interface Family {
  /** Blocks of four tokens that a workgroup owns. */
  readonly blocks: number;
  readonly forward: string;
  readonly query: string;
  readonly keyValue: string;
}

const SUBGROUP: Omit<Family, "blocks"> = {
  forward: walk + subgroupForward,
  query: walk + subgroupQuery,
  keyValue: fromSource + subgroupKeyValue,
};

const TILED: Family = {
  blocks: 16,
  forward: walk + tiledKeys + tiled + staging(["q", "k"], ["v"]) + tiledForward,
  query: walk + tiledKeys + tiled + staging(["q", "k", "dout", "v"], ["k"]) + tiledQuery,
  keyValue: fromSource + tiled + staging(["k", "q", "v", "dout"], ["dout", "q"]) + tiledKeyValue,
};

function make({ depth, vec4, linear, subgroupSize }: AttentionVariant): AttentionKernels {
  const lanes = SUBGROUP_LANES.includes(subgroupSize) ? subgroupSize : 0;
  const family: Family = lanes ? { ...SUBGROUP, blocks: lanes } : TILED;
  const quads = Math.ceil(depth / 4);
  const suffix = `${lanes ? "subgroup" : "tiled"}_${depth}${vec4 ? "" : "_scalar"}${
    linear ? "" : "_grid"
  }`;
  const define = <Buffers extends string>(
    name: string,
    buffers: Readonly<Record<Buffers, Access>>,
    body: string,
  ) => {
    const constants =
      `const DEPTH = ${depth}u;\nconst QUADS = ${quads}u;\nconst LANES = ${lanes}u;\n` +
      `const LINEAR = ${linear};\n`;
    const bindings = Object.entries<Access>(buffers).map(([name, access], i) =>
      bindingOf(name, { binding: i + 1, access, vec4 })
    );
    return defineKernel({
      name: `${name}_${suffix}`,
      source: constants + common + bindings.join("") +
        unrolled(linear ? withoutRows(body) : body, { quads, lanes }),
      buffers,
      params: PARAMETERS,
    });
  };
  return {
    blocks: family.blocks,
    forward: define(
      "attention",
      { q: "texel", k: "texel", v: "texel", bias: "texel", rows: "read_write", out: "read_write" },
      family.forward,
    ),
    delta: define(
      "attention_delta",
      { out: "texel", dout: "texel", rows: "read_write" },
      deltaSource,
    ),
    query: define(
      "attention_query",
      {
        q: "texel",
        k: "texel",
        v: "texel",
        dout: "texel",
        bias: "texel",
        rows: "read_write",
        dq: "read_write",
        drelative: "read_write",
      },
      family.query,
    ),
    keyValue: define(
      "attention_key_value",
      {
        q: "texel",
        k: "texel",
        v: "texel",
        dout: "texel",
        bias: "texel",
        rows: "texel",
        dk: "read_write",
        dv: "read_write",
      },
      family.keyValue,
    ),
    table: define(
      "attention_table",
      {
        q: "texel",
        k: "texel",
        v: "texel",
        dout: "texel",
        bias: "texel",
        rows: "texel",
        dbias: "read_write",
      },
      tableSource,
    ),
  };
}

/** Functions that multiply staged pairs (own, other, own, other, ...) and that stage others. */
function staging(pairs: readonly string[], others: readonly string[]): string {
  const [products, stage] = stageTemplate.split(/(?=\n\/\/ Stages)/);
  const text = pairs.flatMap((own, i) =>
    i % 2 ? [] : [products.replaceAll("$own", own).replaceAll("$other", pairs[i + 1])]
  );
  return [...text, ...others.map((other) => stage.replaceAll("$other", other))].join("");
}

/** Declares a buffer with what loads and stores it. */
function bindingOf(
  name: string,
  { binding, access, vec4 }: { binding: number; access: Access; vec4: boolean },
): string {
  const space = access === "read_write" ? access : "read";
  const fill = (text: string) =>
    text.replaceAll("$binding", `${binding}`).replaceAll("$access", space)
      .replaceAll("$name", name);
  if (name === "bias") return fill(biasSource);
  if (name === "drelative") return fill(drelativeSource);
  if (name === "rows" || name === "dbias") {
    return `@group(0) @binding(${binding}) var<storage, ${space}> ${name}: array<f32>;\n`;
  }
  const form = vec4 ? "vec4" : "scalar";
  const forms = access === "read_write" ? [form, `${form} read_write`] : [form];
  return forms.map((form) => {
    const part = bandTemplate.split("//: ").find((part) => part.startsWith(`${form}\n`))!;
    return fill(part.slice(form.length));
  }).join("");
}

/**
 * Leaves out the loops over a window's rows, marked `//: rows`: blocks that run on from row to row have
 * none, and a loop that runs once costs a copy of every sum.
 */
function withoutRows(source: string): string {
  return source.replace(/\/\/: rows\n.*/g, "{ let y = 0u;");
}

/**
 * Repeats what stands between `//: each j` and `//: end` for every four channels, `each t` for every eight
 * of those, `each r` for every load of them that the lanes of a subgroup share, and `each i` for each of four
 * tokens. `$j`, `$t`, `$r` and `$i` count; within j, `$r` is the load that holds the channels and `$0` to `$3` are
 * the lanes that loaded them for the first to fourth token.
 *
 * Loops would do the same if WGSL compilers kept arrays in registers.
 */
function unrolled(source: string, sizes: { quads: number; lanes: number }): string {
  const lines = source.split("\n");
  const width = Math.max(1, sizes.lanes / 4);
  const counts = {
    j: sizes.quads,
    t: Math.ceil(sizes.quads / 8),
    r: Math.ceil(sizes.quads / width),
    i: 4,
  };
  const repeat = (start: number, end: number): string[] => {
    const out: string[] = [];
    for (let at = start; at < end; at++) {
      const variable = /\/\/: each (\w)/.exec(lines[at])?.[1] as keyof typeof counts | undefined;
      if (!variable) {
        out.push(lines[at]);
        continue;
      }
      let last = at + 1;
      for (let depth = 1; depth > 0; last++) {
        if (lines[last].includes("//: each")) depth++;
        if (lines[last].includes("//: end")) depth--;
      }
      const body = repeat(at + 1, last - 1).join("\n");
      for (let i = 0; i < counts[variable]; i++) out.push(substitute(body, variable, i, width));
      at = last - 1;
    }
    return out;
  };
  return repeat(0, lines.length).join("\n");
}

function substitute(body: string, variable: string, i: number, width: number): string {
  const counted = body.replaceAll(`$${variable}`, `${i}`);
  if (variable !== "j") return counted;
  return counted.replaceAll("$r", `${Math.floor(i / width)}`)
    .replace(/\$([0-3])/g, (_, token) => `${4 * (i % width) + Number(token)}u`);
}
