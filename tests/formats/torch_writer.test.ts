import { assertEquals, assertRejects } from "@std/assert";
import { bytesOf } from "../../lib/byte_source.ts";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";
import { writeAtomic } from "../../lib/fs.ts";
import { openTorch } from "../../lib/formats/torch.ts";
import { type TorchTensor, writeTorch } from "../../lib/formats/torch_writer.ts";
import { openZip } from "../../lib/formats/zip.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** Writes a file for PyTorch. */
const write = (path: string, tensors: ReadonlyMap<string, TorchTensor>): Promise<void> =>
  writeAtomic(path, (output) => writeTorch(output, tensors, { source: path }));

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
  await write(path, state);
  const bytes = await Deno.readFile(path);
  const read = await readWeights(await openTorch(bytesOf(bytes, { source: path })));
  assertEquals([...read.keys()], [...state.keys()]);
  for (const [name, { shape, data }] of state) {
    assertEquals(read.get(name), { shape, data }, name);
  }
});

Deno.test("the file is torch.save's zip: stored entries that begin at multiples of 64", async () => {
  const path = join(folder, "zip.pt");
  await write(path, state);
  const bytes = await Deno.readFile(path);
  const names = ["data.pkl", "byteorder", ...[...state].map((_, i) => `data/${i}`), "version"];
  const refuse = (reason: string): never => {
    throw new Error(reason);
  };
  const entries = await openZip(bytesOf(bytes, { source: path }), refuse);
  assertEquals([...entries.keys()].sort(), names.map((name) => `archive/${name}`).sort());
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const name of names) {
    assertEquals(view.getUint32(at, true), 0x04034b50, name);
    assertEquals(view.getUint16(at + 8, true), 0, "stored");
    const [length, extra] = [26, 28].map((field) => view.getUint16(at + field, true));
    const start = at + 30 + length + extra;
    assertEquals(start % 64, 0, name);
    at = start + view.getUint32(at + 18, true);
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
  await write(join(own, "whole.pth"), new Map([["a", counted], ["b", counted]]));
  assertEquals(most, 1);
  const broken = new Map([["a", counted], ["b", { ...counted, shape: [3] }]]);
  await assertRejects(() => write(join(own, "broken.pth"), broken), RangeError, '"b"');
  const huge = new Map([["a", { ...counted, shape: [2 ** 31] }]]);
  await assertRejects(() => write(join(own, "huge.pth"), huge), InputError, "safetensors");
  assertEquals([...Deno.readDirSync(own)].map(({ name }) => name), ["whole.pth"]);
  await assertRejects(
    () => write(join(own, "whole.pth", "x.pth"), new Map()),
    InputError,
    "cannot write",
  );
});
