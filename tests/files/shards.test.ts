import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { requireAllShards, shardPaths } from "../../lib/files/shard_index.ts";
import { openShards } from "../../lib/files/shards.ts";
import { float32Tensor } from "../../lib/formats/raw_tensor.ts";
import { encodeSafetensors } from "../../lib/formats/safetensors.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const index = join(folder, "model.safetensors.index.json");
const file = (i: number) => `model-0000${i}-of-00002.safetensors`;

async function write(weightMap: Record<string, string>): Promise<void> {
  for (const i of [1, 2]) {
    const tensors = new Map([[`t${i}`, float32Tensor([2], Float32Array.of(i, 10 * i))]]);
    await Deno.writeFile(join(folder, file(i)), encodeSafetensors(tensors));
  }
  const content = { metadata: { total_size: 16 }, weight_map: weightMap };
  await Deno.writeTextFile(index, JSON.stringify(content));
}

Deno.test("weights in several files are read by their index", async () => {
  await write({ t2: file(2), t1: file(1) });
  assertEquals(shardPaths(index), [join(folder, file(1)), join(folder, file(2))]);
  using weights = await openShards(index);
  const state = await readWeights(weights);
  assertEquals([...state].map(([name, { data }]) => [name, [...data]]), [
    ["t2", [2, 20]],
    ["t1", [1, 10]],
  ]);
});

Deno.test("one of several files alone is refused, with the index to give", () => {
  assertThrows(
    () => requireAllShards(join(folder, file(1))),
    InputError,
    `give their index, ${index}`,
  );
  for (const name of ["model.safetensors", "model-00001-of-00001.safetensors"]) {
    requireAllShards(join(folder, name));
  }
});

Deno.test("an index that is none, or says what is not so, is refused", async () => {
  await write({ t1: file(2) });
  await assertRejects(() => openShards(index), InputError, "lacks t1, which");
  await write({ t1: "../elsewhere.safetensors" });
  assertThrows(() => shardPaths(index), InputError, "no sound weight_map");
  await write({ t1: "missing.safetensors" });
  await assertRejects(() => openShards(index), InputError, "missing.safetensors");
  await Deno.writeTextFile(index, "{");
  assertThrows(() => shardPaths(index), InputError, "is not JSON");
});
