import { dirname, join } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import { openWeights } from "../formats/weights.ts";
import { openBytes } from "../fs.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { readShardIndex } from "./shard_index.ts";

/**
 * Opens weights in several files (`model-00001-of-00002.safetensors`, …) by their index
 * (`model.safetensors.index.json`), as transformers saves large models.
 *
 * @throws {InputError} if the index or a file cannot be read, or a file lacks a tensor that the index says
 * is in it.
 */
export async function openShards(path: string): Promise<WeightSource> {
  const files = readShardIndex(path);
  const shards = new Map<string, WeightSource>();
  const close = () => {
    for (const shard of shards.values()) shard[Symbol.dispose]();
  };
  try {
    const tensors = new Map<string, LazyTensor>();
    for (const [name, file] of files) {
      if (!shards.has(file)) {
        shards.set(file, await openWeights(openBytes(join(dirname(path), file))));
      }
      const tensor = shards.get(file)!.tensors.get(name);
      if (!tensor) {
        throw new InputError(
          `${excerpt(file)} lacks ${
            excerpt(name)
          }, which ${path} says is in it: get the files again`,
        );
      }
      tensors.set(name, tensor);
    }
    return { source: path, tensors, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}
