import { Uint8ArrayReader, ZipWriter } from "@zip.js/zip.js/lib/zip-core-native.js";
import { InputError } from "../errors.ts";
import type { LazyTensor } from "../nn/weight_source.ts";
import { elementCount, float32Tensor } from "./raw_tensor.ts";

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

/** Bytes of a zip entry's header before its content: without its name, with the head of one extra field. */
const HEADER_BYTES = 34;

/** Elements of a tensor that the pickle's integers of 32 bits count. */
const MAXIMUM_ELEMENTS = 2 ** 31 - 1;

/**
 * Writes a state dict as `torch.save` of torch 1.6 and later does, in float32: `torch.load` gives an
 * OrderedDict of tensors, with `weights_only` and without. One tensor at a time is in memory. Equal
 * tensors make equal bytes.
 *
 * Source: what torch.save writes (torch/serialization.py) and pickle's protocol 2 (PEP 307).
 *
 * @param output Receives the file; it is left open.
 * @param options.source Name of the file, for messages.
 * @throws {InputError} if a tensor has 2^31 elements or more.
 * @throws {RangeError} if a tensor's elements do not fit its shape.
 */
export async function writeTorch(
  output: WritableStream<Uint8Array>,
  tensors: ReadonlyMap<string, TorchTensor>,
  { source }: { source: string },
): Promise<void> {
  for (const [name, { shape }] of tensors) {
    if (elementCount(shape) <= MAXIMUM_ELEMENTS) continue;
    throw new InputError(
      `${source} cannot hold the ${
        elementCount(shape)
      } elements of ${name}: write .safetensors instead`,
    );
  }
  const zip = new ZipWriter(output, {
    level: 0,
    dataDescriptor: false,
    extendedTimestamp: false,
    lastModDate: new Date(1980, 0, 1), // so that equal tensors make equal bytes
    preventClose: true,
    useWebWorkers: false,
  });
  let end = 0;
  const add = async (name: string, content: Uint8Array): Promise<void> => {
    // An extra field of id "FB" and zeros: torch.save's way to align what follows.
    const unaligned = end + HEADER_BYTES + name.length;
    const padding = (ALIGNMENT - unaligned % ALIGNMENT) % ALIGNMENT;
    end = unaligned + padding + content.length;
    await zip.add(name, new Uint8ArrayReader(content as Uint8Array<ArrayBuffer>), {
      localExtraField: new Map([[0x4246, new Uint8Array(padding)]]),
    });
  };
  await add("archive/data.pkl", pickled(tensors));
  await add("archive/byteorder", utf8.encode("little"));
  let index = 0;
  for (const [name, { shape, read }] of tensors) {
    const data = await read();
    if (data.length !== elementCount(shape)) {
      throw new RangeError(`tensor "${name}" of shape [${shape}] has ${data.length} elements`);
    }
    await add(`archive/data/${index++}`, float32Tensor(shape, data).bytes);
  }
  await add("archive/version", utf8.encode("3\n"));
  await zip.close();
}
