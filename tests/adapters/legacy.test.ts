import { assert, assertEquals, assertRejects } from "@std/assert";
import { float32Tensor, toFloat32 } from "../../lib/formats/raw_tensor.ts";
import { openWeights } from "../../lib/formats/weights.ts";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";
import { type Adapter, adapterWeights } from "../../lib/adapters/adapter.ts";
import { readLegacyAdapter } from "../../lib/adapters/legacy.ts";
import { encodeSafetensors, parseSafetensors } from "../../lib/formats/safetensors.ts";
import { dict, storageId, tensor, text, torchLegacy, torchZip } from "../formats/torch_file.ts";
import { openBytes } from "../../lib/fs.ts";

/** Reads a file as the command line does. */
async function readLegacyLora(path: string): Promise<Adapter> {
  using file = await openWeights(openBytes(path));
  return await readLegacyAdapter(file);
}

/** Two blocks of width 4 and rank 2, as Sam_LoRA would save them. */
function legacyBytes(change: (tensors: Map<string, number[]>) => void = () => {}): Uint8Array {
  const random = new Random("legacy");
  const shapes = new Map<string, number[]>();
  for (const matrix of ["a", "b"]) {
    for (let i = 0; i < 4; i++) shapes.set(`w_${matrix}_00${i}`, matrix === "a" ? [2, 4] : [4, 2]);
  }
  change(shapes);
  return encodeSafetensors(
    new Map([...shapes].map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [
        name,
        float32Tensor(shape, Float32Array.from({ length: size }, () => random.normal())),
      ];
    })),
  );
}

async function withFile<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await Deno.writeFile(path, bytes);
    return await use(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("a flat file becomes A = [A_q; A_v] and B in blocks with exact zeros, of scaling 1", async () => {
  const bytes = legacyBytes();
  const adapter = await withFile(bytes, readLegacyLora);
  const flat = new Float32Array(bytes.slice(bytes.length - 4 * 4 * 8 * 2).buffer);
  const tensor = (matrix: number, index: number) =>
    flat.subarray(32 * matrix + 8 * index, 32 * matrix + 8 * index + 8);
  const { r, lora_alpha, target_modules } = adapter.config!;
  assertEquals([r, lora_alpha, target_modules], [4, 4, ["attn.qkv"]]);
  const weights = adapterWeights(adapter);
  assertEquals(weights.size, 4);
  for (const block of [0, 1]) {
    const path = `image_encoder.blocks.${block}.attn.qkv`;
    const a = weights.get(`${path}.lora_A.weight`)!;
    const b = weights.get(`${path}.lora_B.weight`)!;
    assertEquals([a.shape, b.shape], [[4, 4], [12, 4]]);
    assertEquals([...a.data], [...tensor(0, 2 * block), ...tensor(0, 2 * block + 1)]);
    for (let row = 0; row < 12; row++) {
      const own = [...b.data.subarray(4 * row, 4 * row + 4)];
      const part = (index: number) => {
        const at = 2 * (row % 4);
        return [...tensor(1, 2 * block + index).subarray(at, at + 2)];
      };
      const expected = row < 4 ? [...part(0), 0, 0] : row < 8 ? [0, 0, 0, 0] : [0, 0, ...part(1)];
      assertEquals(own, expected, `row ${row}`);
    }
  }
});

/** The same tensors as torch.save would write them, now and before 1.6. */
function torchFiles(safetensors: Uint8Array): Uint8Array[] {
  const { tensors } = parseSafetensors(safetensors, { source: "test" });
  const pickle = dict(
    ...[...tensors].map(([name, { shape, bytes }]): [number[], number[]] => [
      text(name),
      tensor(storageId({ key: name, length: bytes.length / 4 }), {
        shape: [...shape],
        stride: [shape[1], 1],
      }),
    ]),
  );
  const storages = [...tensors].map(([name, { bytes }]): [string, Uint8Array] => [name, bytes]);
  return [
    torchZip(pickle, { storages: Object.fromEntries(storages) }),
    torchLegacy(pickle, { listed: storages }),
  ];
}

Deno.test("a flat file of torch.save gives the same adapter as one of safetensors", async () => {
  const bytes = legacyBytes((shapes) => shapes.set("mask_decoder.iou_token.weight", [1, 4]));
  const expected = await withFile(bytes, readLegacyLora);
  for (const saved of torchFiles(bytes)) {
    const adapter = await withFile(saved, readLegacyLora);
    assertEquals(adapter.config, expected.config);
    assertEquals(adapterWeights(adapter), adapterWeights(expected));
  }
});

Deno.test("files with a trained mask decoder and prompt encoder keep it, byte for byte", async () => {
  const bytes = legacyBytes((shapes) => {
    const own = [...shapes];
    shapes.clear();
    shapes.set("mask_decoder.iou_token.weight", [1, 4]);
    shapes.set("prompt_encoder.no_mask_embed.weight", [1, 4]);
    for (const [name, shape] of own) shapes.set(name, shape);
  });
  const adapter = await withFile(bytes, readLegacyLora);
  assertEquals(adapter.config!.modules_to_save, ["mask_decoder", "prompt_encoder"]);
  const { tensors } = parseSafetensors(bytes, { source: "test" });
  for (const name of ["mask_decoder.iou_token.weight", "prompt_encoder.no_mask_embed.weight"]) {
    const { shape, data } = adapterWeights(adapter).get(name)!;
    assertEquals(shape, [1, 4]);
    assertEquals(data, toFloat32(tensors.get(name)!));
  }
});

Deno.test("a file that is not a flat LoRA file costs one sentence", async () => {
  const cases: [Uint8Array, RegExp][] = [
    [legacyBytes((shapes) => shapes.delete("w_b_003")), /7 tensors/],
    [legacyBytes((shapes) => shapes.clear()), /no adapter of a known layout/],
    [
      legacyBytes((shapes) => {
        shapes.delete("w_b_003");
        shapes.set("w_b_009", [4, 2]);
      }),
      /lacks w_b_003/,
    ],
    [legacyBytes((shapes) => shapes.set("w_b_001", [4, 3])), /w_b_001 has shape \[4,3\]/],
    [legacyBytes((shapes) => shapes.set("encoder.weight", [2])), /holds encoder\.weight/],
    [
      legacyBytes((shapes) => shapes.set(`x\n${"y".repeat(10_000)}`, [2])),
      /holds x\ufffdy+…, which no LoRA file/,
    ],
    [legacyBytes().subarray(0, 300), /not a sound safetensors file/],
    [torchFiles(legacyBytes())[0].subarray(0, 300), /not a sound PyTorch file/],
    [torchFiles(legacyBytes((shapes) => shapes.delete("w_b_003")))[1], /7 tensors/],
    [new TextEncoder().encode("no weights at all"), /no weights of a known format/],
  ];
  for (const [bytes, says] of cases) {
    const { message } = await assertRejects(() => withFile(bytes, readLegacyLora), InputError);
    assert(says.test(message), message);
    assert(!message.includes("\n") && message.length < 500);
  }
});
