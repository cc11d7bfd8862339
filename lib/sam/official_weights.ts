import { excerpt, InputError } from "../errors.ts";
import { checkValues, LARGEST } from "../nn/host_state.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { sameShape } from "../tensor/shape.ts";
import {
  areTransformersNames,
  holderOf,
  isSamName,
  isWeight,
  officialName,
  unwrapped,
} from "./names.ts";

/** BatchNorm2d's default, which TinyViT uses. */
const BATCH_NORM_EPS = 1e-5;

/** Gathered biases; TinyViT's largest, of 5 heads and a window of 14 x 14, are some 2^18. */
const MAXIMUM_BIASES = 2 ** 24;

type Tensors = Map<string, LazyTensor>;

/** Weights under their official names. */
export interface OfficialWeights extends WeightSource {
  /** Names of tensors that lie outside of SAM, in a larger module that holds it. */
  readonly leftOut: readonly string[];
}

/** Takes the named tensors out of the map, or none of them where one is missing or they do not fit. */
function takeAll(
  tensors: Tensors,
  names: readonly string[],
  fit: (taken: readonly LazyTensor[]) => boolean,
): LazyTensor[] | null {
  const taken = names.map((name) => tensors.get(name));
  if (taken.includes(undefined) || !fit(taken as LazyTensor[])) return null;
  for (const name of names) tensors.delete(name);
  return taken as LazyTensor[];
}

/** Separate q, k and v of the image encoder, `attn.q` or `attn.q_proj`, to the rows of one qkv. */
function joinQkv(tensors: Tensors): void {
  for (const name of [...tensors.keys()]) {
    const [, path, suffix, kind] =
      name.match(/^(image_encoder\.blocks\.\d+\.attn)\.q(_proj)?\.(weight|bias)$/) ?? [];
    if (!path) continue;
    const parts = ["q", "k", "v"].map((part) => `${path}.${part}${suffix ?? ""}.${kind}`);
    const qkv = takeAll(
      tensors,
      parts,
      ([q, k, v]) =>
        q.shape.length > 0 && sameShape(q.shape, k.shape) && sameShape(q.shape, v.shape),
    );
    if (!qkv) continue;
    const [length, ...rest] = qkv[0].shape;
    tensors.set(`${path}.qkv.${kind}`, {
      shape: [3 * length, ...rest],
      dtype: qkv[0].dtype,
      read: async () => {
        const rows = [];
        for (const tensor of qkv) rows.push(await tensor.read());
        const joined = new Float32Array(rows.reduce((sum, { length }) => sum + length, 0));
        let at = 0;
        for (const part of rows) {
          joined.set(part, at);
          at += part.length;
        }
        return joined;
      },
    });
  }
}

/**
 * A convolution `c` without bias and the BatchNorm `bn` after it to one convolution, in float64:
 * w' = w g / sqrt(var + eps), b' = b - mean g / sqrt(var + eps), one factor for each output channel.
 */
function fuseBatchNorms(tensors: Tensors, source: string): void {
  for (const name of [...tensors.keys()]) {
    const path = name.match(/^(.*)\.bn\.running_var$/)?.[1];
    if (path === undefined) continue;
    const parts = ["c.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
    const taken = takeAll(
      tensors,
      parts.map((part) => `${path}.${part}`),
      ([{ shape }, ...others]) =>
        shape.length > 0 && others.every((other) => sameShape(other.shape, [shape[0]])),
    );
    if (!taken) continue;
    const [weight, gain, bias, mean, variance] = taken;
    const factors = async (): Promise<Float64Array> => {
      const [g, v] = [await gain.read(), await variance.read()];
      return Float64Array.from(g, (value, i) => value / Math.sqrt(v[i] + BATCH_NORM_EPS));
    };
    tensors.set(`${path}.weight`, {
      ...weight,
      shape: weight.shape,
      read: async () => {
        const [w, factor] = [await weight.read(), await factors()];
        const perChannel = w.length / factor.length;
        const fused = w.map((value, i) => value * factor[Math.floor(i / perChannel)]);
        // A variance below 0 makes NaN of sound values.
        checkValues(fused, { name: `${path}.bn.running_var`, source, limit: LARGEST.weights });
        return fused;
      },
    });
    tensors.set(`${path}.bias`, {
      ...bias,
      shape: bias.shape,
      read: async () => {
        const [b, m, factor] = [await bias.read(), await mean.read(), await factors()];
        return b.map((value, i) => value - m[i] * factor[i]);
      },
    });
  }
}

/**
 * TinyViT's attention_biases [heads, w²], one for each distance |dy|, |dx| of two tokens in a window
 * of w x w (at |dy| w + |dx|), to attention_bias_full [heads, w², w²], one for each pair of tokens.
 */
function gatherAttentionBiases(tensors: Tensors): void {
  for (const [name, biases] of [...tensors]) {
    const path = name.match(/^(.*\.attn)\.attention_biases$/)?.[1];
    if (path === undefined || biases.shape.length !== 2) continue;
    const [heads, n] = biases.shape;
    const side = Math.round(Math.sqrt(n));
    if (side * side !== n || heads * n * n > MAXIMUM_BIASES) continue;
    tensors.delete(name);
    tensors.set(`${path}.attention_bias_full`, {
      shape: [heads, n, n],
      dtype: biases.dtype,
      read: async () => {
        const byDistance = await biases.read();
        const full = new Float32Array(heads * n * n);
        for (let i = 0; i < full.length; i++) {
          const head = Math.floor(i / (n * n));
          const [from, to] = [Math.floor(i / n) % n, i % n];
          const dy = Math.abs(Math.floor(from / side) - Math.floor(to / side));
          const dx = Math.abs(from % side - to % side);
          full[i] = byDistance[head * n + dy * side + dx];
        }
        return full;
      },
    });
  }
}

/**
 * The names of SAM's tensors within SAM, with those in the file, and the other names of the file. Of two
 * copies of SAM that which has more tensors counts, as of a model and its moving average.
 */
function tensorsOfSam(
  { source, tensors }: WeightSource,
): { own: Map<string, string>; leftOut: string[] } {
  const paths = [...tensors.keys()].map((name) => [name, unwrapped(name)] as const);
  const holder = holderOf(paths.map(([, path]) => path));
  const own = new Map<string, string>();
  const others: (readonly [name: string, path: string])[] = [];
  for (const [name, path] of paths) {
    if (!path.startsWith(holder) || holderOf([path]) !== holder && holderOf([path]) !== "") {
      others.push([name, path]);
      continue;
    }
    const bare = path.slice(holder.length);
    const twin = own.get(bare);
    if (twin !== undefined) {
      throw new InputError(
        `${source} holds ${excerpt(bare)} twice, as ${excerpt(twin)} and ${excerpt(name)}: ` +
          `save one of the two`,
      );
    }
    own.set(bare, name);
  }
  const leftOut: string[] = [];
  for (const [name, path] of others) {
    const bare = path.slice(holderOf([path]).length);
    // A trainer's prefix may be on a part of SAM alone.
    if (isSamName(bare) && !own.has(bare)) own.set(bare, name);
    else leftOut.push(name);
  }
  return { own, leftOut };
}

/**
 * Weights of SAM under the official names (`image_encoder.…`, `prompt_encoder.…`, `mask_decoder.…`),
 * whatever layout they are stored in:
 * - segment_anything's own, which MedSAM and SAMed keep;
 * - transformers' SamModel, its q, k and v fused or split;
 * - MobileSAM's checkpoint, whose BatchNorms are fused into the convolutions and whose attention
 *   biases are gathered.
 *
 * Prefixes that wrappers (`module.`, `_orig_mod.`) put into some or all of the names are left out. Where SAM is a part of
 * a larger module, as in the checkpoints of trainers, the tensors of its other parts (losses, metrics) are
 * set aside and listed. Tensors of SAM itself that fit no rule, or not each other, keep their names, so that
 * loading them into a model names them.
 *
 * The result reads from `weights`, and disposes of them.
 *
 * @throws {InputError} if two tensors have one name once wrappers are left out.
 */
export function officialWeights(weights: WeightSource): OfficialWeights {
  const { own, leftOut } = tensorsOfSam(weights);
  const official = areTransformersNames(own.keys()) ? officialName : (name: string) => name;
  const tensors: Tensors = new Map();
  for (const [bare, name] of own) {
    const target = official(bare);
    // transformers keeps the position embedding twice: the same tensor.
    if (isWeight(target) && !tensors.has(target)) tensors.set(target, weights.tensors.get(name)!);
  }
  joinQkv(tensors);
  fuseBatchNorms(tensors, weights.source);
  gatherAttentionBiases(tensors);
  return {
    source: weights.source,
    tensors,
    leftOut,
    [Symbol.dispose]: () => weights[Symbol.dispose](),
  };
}
