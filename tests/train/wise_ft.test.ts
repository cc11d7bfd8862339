import { assertEquals, assertThrows } from "@std/assert";
import { wiseFt } from "../../lib/train/wise_ft.ts";
import type { StateDict } from "../../lib/formats/state_dict.ts";

const state = (weights: Record<string, number[]>): StateDict =>
  new Map(
    Object.entries(weights).map(([name, data]) => [
      name,
      { shape: [data.length], data: Float32Array.from(data) },
    ]),
  );
const listed = (weights: StateDict) =>
  Object.fromEntries([...weights].map(([name, { data }]) => [name, [...data]]));

const pretrained = state({
  "decoder.weight": [1, -2],
  "qkv.lora_A.weight": [8, 8],
  "qkv.lora_B.weight": [16, 16], // random at the start without init_lora_weights, yet no part of the model
  "qkv.lora_magnitude_vector": [4],
});
const trained = state({
  "decoder.weight": [5, -2],
  "qkv.lora_A.weight": [3, 4],
  "qkv.lora_B.weight": [1, -1],
  "qkv.lora_magnitude_vector": [8],
});

Deno.test("weights lie between pretrained and trained ones, an adapter's update between nothing and itself", () => {
  assertEquals(listed(wiseFt({ pretrained, trained }, 0.25)), {
    "decoder.weight": [2, -2],
    "qkv.lora_A.weight": [3, 4],
    "qkv.lora_B.weight": [0.25, -0.25],
    "qkv.lora_magnitude_vector": [5],
  });
  assertEquals(listed(wiseFt({ pretrained, trained }, 1)), listed(trained));
});

Deno.test("weights that the pretrained model lacks, or has in another size, are refused", () => {
  for (const before of [state({}), state({ "decoder.weight": [1] })]) {
    assertThrows(
      () => wiseFt({ pretrained: before, trained }, 0.5),
      RangeError,
      "decoder.weight is not the same",
    );
  }
});
