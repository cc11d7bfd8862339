import { crc32 } from "node:zlib";
import { InputError } from "../errors.ts";
import { writeAtomic } from "../fs.ts";
import type { LazyTensor } from "../nn/weight_source.ts";
import { elementCount } from "./raw_tensor.ts";

/** A tensor to write: its shape, and its elements in C order once it is its turn. */
export type TorchTensor = Pick<LazyTensor, "shape" | "read">;

const utf8 = new TextEncoder();
const u16 = (value: number): number[] => [value & 255, value >> 8];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];

/** Opcodes of pickle's protocol 2. */
const OP = {
  proto: [0x80, 2],
  mark: [0x28],
  emptyTuple: [0x29],
  tuple: [0x74],
  reduce: [0x52],
  persistentId: [0x51],
  newFalse: [0x89],
  setItems: [0x75],
  stop: [0x2e],
};

const int = (value: number): number[] => [0x4a, ...u32(value)];
const tuple = (items: readonly number[][]): number[] => [...OP.mark, ...items.flat(), ...OP.tuple];
const global = (module: string, name: string): number[] => [
  0x63,
  ...utf8.encode(`${module}\n${name}\n`),
];

function text(value: string): number[] {
  const bytes = utf8.encode(value);
  return [0x58, ...u32(bytes.length), ...bytes];
}

/** An empty OrderedDict. */
const orderedDict = [...global("collections", "OrderedDict"), ...OP.emptyTuple, ...OP.reduce];

/** An OrderedDict of tensors in C order, each of which has a FloatStorage of its own: 0, 1, 2, … */
function pickled(tensors: ReadonlyMap<string, TorchTensor>): Uint8Array {
  const bytes = [...OP.proto, ...orderedDict, ...OP.mark];
  for (const [index, [name, { shape }]] of [...tensors].entries()) {
    const stride = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
    const storage = [
      text("storage"),
      global("torch", "FloatStorage"),
      text(String(index)),
      text("cpu"),
      int(elementCount(shape)),
    ];
    bytes.push(
      ...text(name),
      ...global("torch._utils", "_rebuild_tensor_v2"),
      ...tuple([
        [...tuple(storage), ...OP.persistentId],
        int(0), // offset in the storage
        tuple(shape.map(int)),
        tuple(stride.map(int)),
        OP.newFalse, // requires_grad
        orderedDict, // backward hooks
      ]),
      ...OP.reduce,
    );
  }
  return Uint8Array.from([...bytes, ...OP.setItems, ...OP.stop]);
}

/** Contents begin at multiples of this, as torch.save's do, so that they can be mapped into memory. */
const ALIGNMENT = 64;

/** A zip of stored entries that is written one entry after another. */
class ZipWriter {
  readonly #file: Deno.FsFile;
  readonly #directory: Uint8Array[] = [];
  #at = 0;

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      done += await this.#file.write(bytes.subarray(done));
    }
    this.#at += bytes.length;
  }

  async add(path: string, content: Uint8Array): Promise<void> {
    const name = utf8.encode(path);
    const headerAt = this.#at;
    // An extra field of id "FB" and zeros: torch.save's way to align what follows.
    const unaligned = headerAt + 30 + name.length + 4;
    const padding = (ALIGNMENT - unaligned % ALIGNMENT) % ALIGNMENT;
    const [version, flags, method, time, date] = [20, 0, 0, 0, 0x21]; // 1980-01-01: equal bytes
    const header = (extra: number): number[] => [
      ...[version, flags, method, time, date].flatMap(u16),
      ...[crc32(content), content.length, content.length].flatMap(u32),
      ...[name.length, extra].flatMap(u16),
    ];
    const extra = [...u16(0x4246), ...u16(padding), ...new Array<number>(padding).fill(0)];
    await this.#write(
      Uint8Array.from([...u32(0x04034b50), ...header(extra.length), ...name, ...extra]),
    );
    await this.#write(content);
    const [comment, disk, attributes] = [0, 0, 0];
    this.#directory.push(
      Uint8Array.from([
        ...[...u32(0x02014b50), ...u16(version), ...header(0)],
        ...[...[comment, disk, attributes].flatMap(u16), ...u32(0), ...u32(headerAt), ...name],
      ]),
    );
  }

  /** Writes the directory. */
  async end(): Promise<void> {
    const directoryAt = this.#at;
    for (const entry of this.#directory) await this.#write(entry);
    const length = this.#at - directoryAt;
    const count = this.#directory.length;
    const end = [...[0, 0, count, count].flatMap(u16), ...[length, directoryAt].flatMap(u32)];
    await this.#write(Uint8Array.from([...u32(0x06054b50), ...end, ...u16(0)]));
  }
}

/** Sizes and offsets have 32 bits here, the count of entries 16; SAM's ViT-H takes 2.6 GB. */
const MAXIMUM_BYTES = 2 ** 32 - 2 ** 24;
const MAXIMUM_TENSORS = 2 ** 16 - 8;

/**
 * Writes a state dict as `torch.save` of torch 1.6 and later does, in float32: `torch.load` gives an
 * OrderedDict of tensors, with `weights_only` and without. Whole or not at all; one tensor at a time is
 * in memory. Equal tensors make equal bytes.
 *
 * Source: what torch.save writes (torch/serialization.py), pickle's protocol 2 (PEP 307) and PKWARE's
 * "APPNOTE.TXT - .ZIP File Format Specification" 6.3.
 *
 * @throws {InputError} if the folder cannot be written to, or the file would exceed 4 GB.
 * @throws {RangeError} if a tensor's elements do not fit its shape.
 */
export async function writeTorch(
  path: string,
  tensors: ReadonlyMap<string, TorchTensor>,
): Promise<void> {
  const elements = [...tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  if (4 * elements > MAXIMUM_BYTES || tensors.size > MAXIMUM_TENSORS) {
    throw new InputError(
      `${path} would take ${
        4 * elements
      } bytes in ${tensors.size} tensors, more than a zip of 4 GB ` +
        `holds: write .safetensors instead`,
    );
  }
  await writeAtomic(path, async (file) => {
    const zip = new ZipWriter(file);
    await zip.add("archive/data.pkl", pickled(tensors));
    await zip.add("archive/byteorder", utf8.encode("little"));
    let index = 0;
    for (const [name, { shape, read }] of tensors) {
      const data = await read();
      if (data.length !== elementCount(shape)) {
        throw new RangeError(`tensor "${name}" of shape [${shape}] has ${data.length} elements`);
      }
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      await zip.add(`archive/data/${index++}`, bytes);
    }
    await zip.add("archive/version", utf8.encode("3\n"));
    await zip.end();
  });
}
