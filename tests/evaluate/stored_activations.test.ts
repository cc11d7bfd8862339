import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ActivationCache } from "../../lib/evaluate/activation_cache.ts";
import { CachedEncoder } from "../../lib/evaluate/cached_encoder.ts";
import { ActivationWriter, StoredActivations } from "../../lib/evaluate/stored_activations.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { type ActivationStorage, withStorage } from "../../lib/tensor/half.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { tinySam } from "../train/tiny_sam.ts";
import { adaptLastBlock } from "../train/train_tiny.ts";

const SIDE = 64;
const CONTENT = "tiny";
const MACHINE = "here";

/** An image whose pixels follow from its key, and the keys whose pixels were made. */
function images() {
  const made: string[] = [];
  const inputs = (...keys: string[]) =>
    keys.map((key) => ({
      key,
      pixels: () => {
        made.push(key);
        const random = new Random(key);
        return Float32Array.from({ length: SIDE * SIDE * 3 }, () => random.normal());
      },
    }));
  return { made, inputs };
}

/** Writes what lies before the adapters of a tiny model, of two images. */
async function store(folder: string, storage: ActivationStorage): Promise<void> {
  const sam = tinySam();
  await adaptLastBlock(sam);
  using cache = new ActivationCache({ budget: 0 });
  using encoder = new CachedEncoder(sam.imageEncoder, {
    side: SIDE,
    storage,
    shared: { cache, content: CONTENT },
  });
  const writer = new ActivationWriter((name, content) =>
    typeof content === "string"
      ? Deno.writeTextFile(join(folder, name), content)
      : Deno.writeFile(join(folder, name), content)
  );
  const { inputs } = images();
  const tensors = withStorage(gpu, storage, () => encoder.prefixOf(inputs("a", "b")));
  for (const [i, tensor] of tensors.entries()) {
    await writer.add("ab"[i], new Uint8Array(await gpu.read(tensor.buffer, 4 * tensor.size)));
    tensor.dispose();
  }
  const [content] = JSON.parse(cache.content);
  const { cut, shape } = encoder;
  await writer.finish({ content, cut, shape: [...shape], machine: MACHINE });
  sam.dispose();
}

/** Embeddings of images by a model, with stored activations or without, and the keys that were computed. */
async function embed(
  stored: StoredActivations | null,
  { isAdapted, storage, keys }: { isAdapted: boolean; storage: ActivationStorage; keys: string[] },
): Promise<{ data: Float32Array; made: string[] }> {
  const sam: Sam = tinySam();
  const { made, inputs } = images();
  if (isAdapted) await adaptLastBlock(sam);
  using cache = new ActivationCache({ stored });
  // A row that adapts nothing knows where the rows with adapters begin.
  const earlier = sam.imageEncoder.stages()[stored?.cut ?? 1].modules[0];
  using encoder = new CachedEncoder(sam.imageEncoder, {
    side: SIDE,
    storage,
    shared: { cache, content: CONTENT, earlier: isAdapted ? null : earlier },
  });
  using _ = new Scope(gpu);
  const data = await noGrad(
    gpu,
    () => withStorage(gpu, storage, () => encoder.encode(inputs(...keys))),
  ).data();
  sam.dispose();
  return { data, made };
}

Deno.test("activations that another process has computed stand for the pixels, to the same bits", async () => {
  for (const storage of ["f32", "f16"] as const) {
    const folder = await Deno.makeTempDir();
    try {
      await store(folder, storage);
      using stored = (await StoredActivations.open(folder, MACHINE))!;
      const options = { isAdapted: true, storage, keys: ["b", "c", "a"] };
      const without = await embed(null, options);
      assertEquals(without.made, ["b", "c", "a"]);
      const found = await embed(stored, options);
      assertSameBits(found.data, without.data, storage);
      assertEquals(found.made, ["c"]);
      // A frozen encoder goes on from there, unless halves would be another number than its own.
      const frozen = { ...options, isAdapted: false };
      const whole = await embed(null, frozen);
      const goneOn = await embed(stored, frozen);
      assertSameBits(goneOn.data, whole.data, storage);
      assertEquals(goneOn.made, storage === "f32" ? ["c"] : ["b", "c", "a"]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
});

Deno.test("a damaged activation is computed again, and those of another machine or content are not read", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await store(folder, "f32");
    assertEquals(await StoredActivations.open(folder, "another device"), null);
    assertEquals(await StoredActivations.open(join(folder, "nowhere"), MACHINE), null);
    const path = join(folder, "000001.bin");
    const bytes = await Deno.readFile(path);
    bytes[3] ^= 1; // of the first
    await Deno.writeFile(path, bytes);
    using stored = (await StoredActivations.open(folder, MACHINE))!;
    assertEquals(stored.read("a"), null);
    assert(stored.read("b") !== null);
    const options = { isAdapted: true, storage: "f32", keys: ["a", "b"] } as const;
    const { made } = await embed(stored, { ...options, keys: [...options.keys] });
    assertEquals(made, ["a"]);
    // In half precision the same key is another activation.
    const half = await embed(stored, { isAdapted: true, storage: "f16", keys: ["b"] });
    assertEquals(half.made, ["b"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
