import { assert, assertEquals } from "@std/assert";
import { injectLora } from "../../lib/nn/lora.ts";
import { Random } from "../../lib/random.ts";
import { CachedEncoder } from "../../lib/sam/cached_encoder.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { tinySam } from "./tiny_sam.ts";

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

/** Adapters in the last block only: most of the encoder lies before them. */
async function adapt(sam: Sam): Promise<void> {
  await injectLora(sam.imageEncoder, {
    r: 2,
    lora_alpha: 2,
    blocks: [2],
    random: new Random(0),
  });
}

Deno.test("embeddings are the encoder's, with a cache and without one, bit for bit", async () => {
  for (const adapted of [false, true]) {
    const sam = tinySam();
    if (adapted) await adapt(sam);
    const { inputs } = images();
    using cached = new CachedEncoder(sam.imageEncoder, { side: SIDE });
    using uncached = new CachedEncoder(sam.imageEncoder, { side: SIDE, budget: 0 });
    const encode = (encoder: CachedEncoder, ...keys: string[]) => {
      using _ = new Scope(gpu);
      return noGrad(() => encoder.encode(inputs(...keys))).data();
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

Deno.test("with adapters what lies before the first of them is computed once", async () => {
  const sam = tinySam();
  await adapt(sam);
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
    await adapt(sam);
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
