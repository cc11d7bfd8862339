import { assert, assertEquals } from "@std/assert";
import { ActivationCache } from "../../lib/evaluate/activation_cache.ts";
import {
  CachedEncoder,
  type CachedEncoderOptions,
  type EncoderInput,
} from "../../lib/evaluate/cached_encoder.ts";
import { AdapterLayer } from "../../lib/adapters/adapter_layer.ts";
import type { Module } from "../../lib/nn/module.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { adaptLastBlock } from "../train/train_tiny.ts";
import { tinySam } from "../train/tiny_sam.ts";

const SIDE = 64;

/** An image whose pixels follow from its key, and a count of how often they were made. */
function images() {
  const made: string[] = [];
  const input = (key: string) => ({
    key,
    pixels: () => {
      made.push(key);
      const random = new Random(key);
      return Float32Array.from({ length: SIDE * SIDE * 3 }, () => random.normal());
    },
  });
  return { made, inputs: (...keys: string[]) => keys.map(input) };
}

Deno.test("embeddings are the encoder's, with a cache and without one, bit for bit", async () => {
  for (const adapted of [false, true]) {
    const sam = tinySam();
    if (adapted) await adaptLastBlock(sam);
    const { inputs } = images();
    using cached = new CachedEncoder(sam.imageEncoder, { side: SIDE });
    using uncached = new CachedEncoder(sam.imageEncoder, { side: SIDE, budget: 0 });
    const encode = (encoder: CachedEncoder, ...keys: string[]) => {
      using _ = new Scope(gpu);
      return noGrad(gpu, () => encoder.encode(inputs(...keys))).data();
    };
    for (const keys of [["a", "b"], ["a"], ["b", "c"], ["c", "a", "b"], ["d", "d"]]) {
      const expected = await encode(uncached, ...keys);
      assertSameBits(await encode(cached, ...keys), expected, keys.join());
    }
    assertEquals(uncached.bytes, 0);
    assert(cached.bytes > 0);
    sam.dispose();
  }
});

Deno.test("a frozen encoder encodes each image once, however often it is asked for", () => {
  const sam = tinySam();
  const { made, inputs } = images();
  using encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE });
  using _ = new Scope(gpu);
  encoder.encode(inputs("a", "b"));
  assertEquals(made, ["a", "b"]);
  let before = gpu.dispatches;
  encoder.encode(inputs("b", "a"));
  assertEquals(gpu.dispatches - before, 2, "only the two are put together");
  before = gpu.dispatches;
  encoder.encode(inputs("a"));
  assertEquals(gpu.dispatches - before, 0);
  assertEquals(made, ["a", "b"]);
  encoder.encode(inputs("a", "c"));
  assertEquals(made, ["a", "b", "c"]);
  assertEquals(encoder.bytes, 3 * 4 * 4 * 4 * 32);
  sam.dispose();
});

Deno.test("what has no key is made each time and takes no room, and tensors are pixels too", async () => {
  const sam = tinySam();
  const { made, inputs } = images();
  using encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE });
  using _ = new Scope(gpu);
  const [a, b] = inputs("a", "b");
  const fresh = (input: EncoderInput) => ({ ...input, key: null });
  const expected = await noGrad(gpu, () => encoder.encode([a, b])).data();
  const { bytes } = encoder;
  for (let i = 0; i < 2; i++) {
    const actual = await noGrad(gpu, () => encoder.encode([fresh(a), fresh(b)])).data();
    assertSameBits(actual, expected, "made anew");
  }
  assertEquals(made.join(""), "ababab");
  assertEquals(encoder.bytes, bytes);
  const onDevice = {
    key: "b on the device",
    pixels: () => Tensor.from(gpu, b.pixels(), [1, SIDE, SIDE, 3]),
  };
  const mixed = await noGrad(gpu, () => encoder.encode([fresh(a), onDevice])).data();
  assertSameBits(mixed, expected, "a tensor");
  assert(encoder.bytes > bytes);
  sam.dispose();
});

Deno.test("with adapters what lies before the first of them is computed once", async () => {
  const sam = tinySam();
  await adaptLastBlock(sam);
  const { made, inputs } = images();
  using encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE });
  const dispatches = () => {
    using _ = new Scope(gpu);
    const before = gpu.dispatches;
    const embedding = encoder.encode(inputs("a"));
    assert(embedding.requiresGrad, "gradients reach the adapters");
    return gpu.dispatches - before;
  };
  const first = dispatches();
  const second = dispatches();
  assert(second < first / 2, `${second} of ${first} dispatches`);
  assertEquals(dispatches(), second);
  assertEquals(made, ["a"]);
  sam.dispose();
});

Deno.test("gradients with a cache are those without one, bit for bit", async () => {
  const gradients = async (budget: number) => {
    const sam = tinySam();
    await adaptLastBlock(sam);
    const { inputs } = images();
    using encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE, budget });
    for (let i = 0; i < 2; i++) {
      using _ = new Scope(gpu);
      sum(encoder.encode(inputs("a", "b"))).backward();
    }
    const values = [];
    for (const [path, { grad }] of sam.trainableParameters()) {
      assert(grad, path);
      values.push(await grad.data());
    }
    sam.dispose();
    return values;
  };
  const cached = await gradients(2 ** 20);
  assert(cached.some((values) => values.some((value) => value !== 0)));
  const uncached = await gradients(0);
  cached.forEach((values, i) => assertSameBits(values, uncached[i], `gradient ${i}`));
});

Deno.test("embeddings and gradients through the disk are those of memory and of no cache", async () => {
  const folder = await Deno.makeTempDir();
  const one = 4 * 4 * 4 * 32;
  /** Embeddings and gradients of three epochs over four images, two at a time. */
  const train = async (options: { budget: number; diskBudget: number }) => {
    const sam = tinySam();
    await adaptLastBlock(sam);
    const { made, inputs } = images();
    const encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE, folder, ...options });
    const results = [];
    for (const keys of [["a", "b"], ["c", "d"], ["b", "c"], ["d", "a"], ["a", "c"], ["d", "b"]]) {
      using _ = new Scope(gpu);
      const embedding = encoder.encode(inputs(...keys));
      sum(mul(embedding, embedding)).backward();
      results.push(await embedding.data());
      await encoder.settle();
    }
    for (const [, { grad }] of sam.trainableParameters()) results.push(await grad!.data());
    const { bytes, diskBytes } = encoder;
    encoder[Symbol.dispose]();
    sam.dispose();
    return { results, made, bytes, diskBytes };
  };
  const expected = await train({ budget: 0, diskBudget: 0 });
  assertEquals([expected.made.length, expected.bytes, expected.diskBytes], [12, 0, 0]);
  const within = await train({ budget: 100 * one, diskBudget: 0 });
  const { bytes } = within;
  for (
    const [options, made] of [
      [{ budget: 0, diskBudget: 100 * one }, 4], // all on disk
      [{ budget: bytes / 2, diskBudget: 100 * one }, 4], // two in memory, two on disk
      [{ budget: bytes / 4, diskBudget: bytes / 4 }, 4 + 2 * 2], // one each, and two made anew
    ] as const
  ) {
    const actual = await train(options);
    assertEquals(actual.made.length, made);
    assert(actual.bytes <= options.budget && actual.diskBytes <= options.diskBudget);
    assert(actual.diskBytes > 0);
    actual.results.forEach((values, i) =>
      assertSameBits(values, expected.results[i], `result ${i}`)
    );
  }
  assertEquals([...Deno.readDirSync(folder)], [], "nothing is left on disk");
  await Deno.remove(folder);
});

Deno.test("a damaged file on disk is computed again", async () => {
  const folder = await Deno.makeTempDir();
  const sam = tinySam();
  const { made, inputs } = images();
  using encoder = new CachedEncoder(sam.imageEncoder, {
    side: SIDE,
    budget: 0,
    diskBudget: 2 ** 20,
    folder,
  });
  const encode = async () => {
    using _ = new Scope(gpu);
    const values = await encoder.encode(inputs("a")).data();
    await encoder.settle();
    return values;
  };
  const expected = await encode();
  assertSameBits(await encode(), expected, "from disk");
  assertEquals(made, ["a"]);
  const [own] = [...Deno.readDirSync(folder)].filter(({ isDirectory }) => isDirectory);
  const [file] = [...Deno.readDirSync(`${folder}/${own.name}`)];
  const path = `${folder}/${own.name}/${file.name}`;
  Deno.writeFileSync(path, Deno.readFileSync(path).map((byte, i) => i === 77 ? byte ^ 1 : byte));
  assertSameBits(await encode(), expected, "computed again");
  assertEquals(made, ["a", "a"]);
  assertSameBits(await encode(), expected, "from disk again");
  assertEquals(made, ["a", "a"]);
  encoder[Symbol.dispose]();
  sam.dispose();
  await Deno.remove(folder);
});

Deno.test("a cache of halves takes half, and its budgets change no number", async () => {
  const folder = await Deno.makeTempDir();
  const sam = tinySam();
  await adaptLastBlock(sam);
  const { inputs } = images();
  const encode = async (options: Partial<CachedEncoderOptions>) => {
    using encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE, folder, ...options });
    const embeddings = [];
    for (const keys of [["a", "b"], ["b", "a"], ["a"]]) {
      using _ = new Scope(gpu);
      embeddings.push(await noGrad(gpu, () => encoder.encode(inputs(...keys))).data());
      await encoder.settle();
    }
    return { embeddings, bytes: encoder.bytes + encoder.diskBytes };
  };
  const exact = await encode({});
  const halved = await encode({ storage: "f16" });
  assertEquals(halved.bytes, exact.bytes / 2);
  for (const options of [{ budget: 0 }, { budget: 0, diskBudget: 2 ** 24 }]) {
    const other = await encode({ storage: "f16", ...options });
    other.embeddings.forEach((values, i) =>
      assertSameBits(values, halved.embeddings[i], `${JSON.stringify(options)}, batch ${i}`)
    );
  }
  const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  const [a] = exact.embeddings;
  const error = norm(halved.embeddings[0].map((value, i) => value - a[i])) / norm(a);
  console.log(`embeddings from halves differ by ${error.toExponential(1)}`);
  assert(error > 0 && error < 1e-3, `${error}`);
  sam.dispose();
  await Deno.remove(folder);
});

Deno.test("the cache stops at its budget and gives everything back when disposed", () => {
  const sam = tinySam();
  const one = 4 * 4 * 4 * 32;
  const before = gpu.memory.live;
  const { made, inputs } = images();
  const encoder = new CachedEncoder(sam.imageEncoder, { side: SIDE, budget: 2.5 * one });
  for (let i = 0; i < 2; i++) {
    using _ = new Scope(gpu);
    encoder.encode(inputs("a", "b", "c", "d"));
    assertEquals(encoder.bytes, 2 * one);
  }
  assertEquals(made, ["a", "b", "c", "d", "c", "d"]);
  assertEquals(gpu.memory.live, before + 2);
  encoder[Symbol.dispose]();
  assertEquals(gpu.memory.live, before);
  assertEquals(encoder.bytes, 0);
  sam.dispose();
});

Deno.test("models one after the other share what lies before their adapters, and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  const one = 4 * 4 * 4 * 32;
  const before = gpu.memory.live;
  for (const storage of ["f32", "f16"] as const) {
    using cache = new ActivationCache({ budget: 2 * one, diskBudget: 100 * one, folder });
    const { made, inputs } = images();
    /** The embeddings that a model of its own gives, with a rank and a block of its own. */
    const encode = async (
      { rank, block, content, shared }: Record<"rank" | "block", number> & {
        content: string;
        shared: boolean;
      },
    ) => {
      const sam = tinySam();
      const random = new Random(rank);
      const options = { r: rank, lora_alpha: 2, blocks: [block], init_lora_weights: false };
      await injectLora(sam.imageEncoder, { ...options, random });
      using encoder = new CachedEncoder(sam.imageEncoder, {
        side: SIDE,
        storage,
        ...(shared ? { shared: { cache, content } } : { budget: 0 }),
      });
      using _ = new Scope(gpu);
      const values = await noGrad(gpu, () => encoder.encode(inputs("a", "b", "c", "d"))).data();
      await encoder.settle();
      sam.dispose();
      return values;
    };
    const count = async (row: { rank: number; block: number; content: string }) => {
      const expected = await encode({ ...row, shared: false });
      const already = made.length;
      assertSameBits(await encode({ ...row, shared: true }), expected, JSON.stringify(row));
      return made.length - already;
    };
    assertEquals(await count({ rank: 2, block: 2, content: "x" }), 4);
    assertEquals(await count({ rank: 3, block: 2, content: "x" }), 0, "another rank");
    assertEquals(await count({ rank: 2, block: 1, content: "x" }), 4, "an earlier block");
    assertEquals(await count({ rank: 2, block: 2, content: "x" }), 4, "and a later one again");
    assertEquals(await count({ rank: 2, block: 2, content: "y" }), 4, "other pixels or weights");
  }
  assertEquals(gpu.memory.live, before);
  assertEquals([...Deno.readDirSync(folder)], []);
  await Deno.remove(folder);
});

Deno.test("an encoder keeps what a later one of another cut asks for, which then encodes no image", async () => {
  const frozen = tinySam();
  const adapted = tinySam();
  await adaptLastBlock(adapted);
  const { made, inputs } = images();
  const linears = [...adapted.namedModules()].flatMap(([path, module]) =>
    module instanceof AdapterLayer ? [path] : []
  );
  const earlier = [...frozen.namedModules()].find(([path]) => path === linears[0])![1];
  for (const storage of ["f32", "f16"] as const) {
    using cache = new ActivationCache();
    const encode = (sam: Sam, cut: Module | null, shared = cache) => {
      const content = "weights and slices";
      using encoder = new CachedEncoder(sam.imageEncoder, {
        side: SIDE,
        storage,
        shared: { cache: shared, content, earlier: cut },
      });
      using _ = new Scope(gpu);
      return noGrad(gpu, () => encoder.encode(inputs("a", "b"))).data();
    };
    using alone = new ActivationCache();
    const [whole, late] = [await encode(frozen, null, alone), await encode(adapted, null, alone)];
    made.length = 0;
    assertSameBits(await encode(frozen, earlier), whole, `whole embeddings, ${storage}`);
    assertEquals(made, ["a", "b"]);
    assertSameBits(await encode(adapted, null), late, `with adapters, ${storage}`);
    assertEquals(made, ["a", "b"]);
    // Activations that the first one asked for are dropped with the next one's cut.
    await encode(frozen, earlier);
    assertEquals(made, ["a", "b", "a", "b"]);
  }
  frozen.dispose();
  adapted.dispose();
});
