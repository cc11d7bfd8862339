import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";
import { bytesOf } from "../../lib/formats/byte_source.ts";
import { openTorch } from "../../lib/formats/torch.ts";
import { type TorchTensor, writeTorch } from "../../lib/formats/torch_writer.ts";
import { ZipFile } from "../../lib/formats/zip.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** A tensor of values that use all bits. */
function tensor(...shape: number[]): TorchTensor & { data: Float32Array } {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: size }, (_, i) => Math.sin(i + shape.length));
  return { shape, data, read: () => Promise.resolve(data) };
}

const state = new Map([
  ["image_encoder.pos_embed", tensor(1, 3, 5, 7)],
  ["a.weight", tensor(4, 6)],
  ["a.bias", tensor(4)],
  ["of.one", tensor(1)],
  ["scalar", tensor()],
  ["empty", tensor(0, 4)],
  ["größe", tensor(2, 300)],
]);

// The same state was read by torch 2.5.1: see tests/reference/check_torch_writer.txt.
Deno.test("what is written for PyTorch reads back bit for bit, in order", async () => {
  const path = join(folder, "state.pth");
  await writeTorch(path, state);
  const bytes = await Deno.readFile(path);
  const read = await readWeights(openTorch(bytesOf(bytes, { source: path })));
  assertEquals([...read.keys()], [...state.keys()]);
  for (const [name, { shape, data }] of state) {
    assertEquals(read.get(name), { shape, data }, name);
  }
});

Deno.test("the file is torch.save's zip: stored entries that begin at multiples of 64", async () => {
  const path = join(folder, "zip.pt");
  await writeTorch(path, state);
  const bytes = await Deno.readFile(path);
  const zip = new ZipFile(bytesOf(bytes, { source: path }), (reason) => {
    throw new Error(reason);
  });
  const names = ["data.pkl", "byteorder", ...[...state].map((_, i) => `data/${i}`), "version"];
  assertEquals([...zip.entries.keys()].sort(), names.map((name) => `archive/${name}`).sort());
  const view = new DataView(bytes.buffer);
  for (const { name, headerAt, deflated } of zip.entries.values()) {
    const [length, extra] = [26, 28].map((field) => view.getUint16(headerAt + field, true));
    assertEquals((headerAt + 30 + length + extra) % 64, 0, name);
    assert(!deflated);
  }
});

Deno.test("one tensor is read at a time, and a failure leaves no file", async () => {
  let open = 0;
  let most = 0;
  const counted: TorchTensor = {
    shape: [2],
    read: async () => {
      most = Math.max(most, ++open);
      await Promise.resolve();
      open--;
      return new Float32Array(2);
    },
  };
  const own = await Deno.makeTempDir({ dir: folder });
  await writeTorch(join(own, "whole.pth"), new Map([["a", counted], ["b", counted]]));
  assertEquals(most, 1);
  const broken = new Map([["a", counted], ["b", { ...counted, shape: [3] }]]);
  await assertRejects(() => writeTorch(join(own, "broken.pth"), broken), RangeError, '"b"');
  const huge = new Map([["a", { ...counted, shape: [2 ** 31] }]]);
  await assertRejects(() => writeTorch(join(own, "huge.pth"), huge), InputError, "safetensors");
  assertEquals([...Deno.readDirSync(own)].map(({ name }) => name), ["whole.pth"]);
  await assertRejects(
    () => writeTorch(join(own, "whole.pth", "x.pth"), new Map()),
    InputError,
    "cannot write",
  );
});
