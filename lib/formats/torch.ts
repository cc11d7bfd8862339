import { excerpt, InputError } from "../errors.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import type { ByteSource } from "../byte_source.ts";
import {
  PickledTuple,
  type PickleGlobal,
  type PickleObject,
  type PickleOptions,
  type PickleValue,
  unpickle,
} from "./pickle.ts";
import { type Dtype, elementCount, ITEM_SIZE, readElements } from "./raw_tensor.ts";
import { openZip, type ReadAt } from "./zip.ts";

/** A pickle of 20,000 tensors is 3 MB. */
const MAXIMUM_PICKLE_BYTES = 2 ** 24;

/** Containers within containers, in a checkpoint. */
const MAXIMUM_DEPTH = 32;

/** Values of a checkpoint looked at, counting what is shared each time it is met. */
const MAXIMUM_VALUES = 1_000_000;

/** Letters of a tensor's name, the names of what holds it included. */
const MAXIMUM_NAME = 1000;

/** Axes of a tensor, in torch. */
const MAXIMUM_AXES = 64;

/** Elements that a tensor with repeated elements (stride 0) may grow to beyond its storage. */
const MAXIMUM_EXPANSION = 2 ** 20;

/** Tensors that may share each storage, on average; in models two or three do. */
const MAXIMUM_SHARING = 16;

/** Elements of a file's tensors that may be there whatever their storages hold. */
const MAXIMUM_FREE_ELEMENTS = 2 ** 24;

/** torch.save's mark of the layout without zip: the number 0x1950a86a20f9469cfc6c. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;

/** A storage that tensors of a checkpoint are views on. */
interface Storage extends PickleObject {
  readonly kind: "storage";
  readonly key: string;
  readonly dtype: Dtype;
  /** Number of elements. */
  readonly length: number;
}

/** A tensor of a checkpoint. */
interface PickledTensor extends PickleObject {
  readonly kind: "tensor";
  readonly storage: Storage;
  readonly dtype: Dtype;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
}

/** torch's names for element types, those of storages first; others cannot be saved by torch.save. */
const DTYPES: ReadonlyArray<readonly [storage: string, dtype: string, ours: Dtype]> = [
  ["DoubleStorage", "float64", "F64"],
  ["FloatStorage", "float32", "F32"],
  ["HalfStorage", "float16", "F16"],
  ["BFloat16Storage", "bfloat16", "BF16"],
  ["LongStorage", "int64", "I64"],
  ["IntStorage", "int32", "I32"],
  ["ShortStorage", "int16", "I16"],
  ["CharStorage", "int8", "I8"],
  ["ByteStorage", "uint8", "U8"],
  ["BoolStorage", "bool", "BOOL"],
];

function isTensor(value: PickleValue): value is PickledTensor {
  return (value as Partial<PickleObject> | null)?.kind === "tensor";
}

/** A whole number from 0 on: a length or a place. */
function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0;
}

/** A shape, a stride or an offset. */
function naturals(value: PickleValue, what: string): readonly number[] {
  const items: unknown = value instanceof PickledTuple ? value.items : value;
  if (!Array.isArray(items)) throw new RangeError(`${what} is not a list`);
  if (items.length > MAXIMUM_AXES) throw new RangeError(`${what} has ${items.length} axes`);
  if (!items.every(isNatural)) {
    throw new RangeError(`${what} is not a list of whole numbers from 0 on`);
  }
  return items;
}

/** `storage` and the view on it, as torch._utils._rebuild_tensor_v2 is called with. */
function rebuildTensor(args: readonly PickleValue[]): PickledTensor {
  const [storage, offset, size, strides] = args as [Storage, number, PickleValue, PickleValue];
  if (storage?.kind !== "storage") throw new RangeError("the first one is no storage");
  const shape = naturals(size, "the shape");
  const stride = naturals(strides, "the stride");
  naturals([offset], "the offset");
  if (stride.length !== shape.length) throw new RangeError("shape and stride differ in length");
  return { kind: "tensor", storage, dtype: storage.dtype, offset, shape, stride };
}

/** The only names that a pickle of ours may use. */
const KNOWN: readonly PickleGlobal[] = [
  {
    global: "collections.OrderedDict",
    call: (args) => {
      if (args.length > 0) throw new RangeError("torch.save fills it later");
      return new Map();
    },
  },
  { global: "torch._utils._rebuild_tensor", call: rebuildTensor },
  { global: "torch._utils._rebuild_tensor_v2", call: rebuildTensor },
  {
    global: "torch._utils._rebuild_parameter",
    call: ([tensor]) => {
      if (!isTensor(tensor)) throw new RangeError("the first one is no tensor");
      return tensor;
    },
  },
  { global: "torch.Size", call: ([size]) => new PickledTuple(naturals(size, "the size")) },
  { global: "torch.device", call: () => ({ kind: "device" }) },
  { global: "torch.UntypedStorage" },
  { global: "torch.storage.UntypedStorage" },
  ...DTYPES.flatMap(([storage, dtype]) => [
    `torch.${storage}`,
    `torch.cuda.${storage}`,
    `torch.${dtype}`,
  ]).map((global) => ({ global })),
];

const GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map(
  KNOWN.map((known) => [known.global, known]),
);

/** The element type of a storage by its Python type. */
function storageDtype(type: PickleValue): Dtype | undefined {
  const name = (type as Partial<PickleGlobal> | null)?.global?.split(".").at(-1);
  if (name === "UntypedStorage") return "U8";
  return DTYPES.find(([storage]) => storage === name)?.[2];
}

/** A PyTorch file whose pickle is read, in either layout. */
interface Container {
  /** Value of the pickle. */
  readonly content: PickleValue;
  /** Opens the bytes of a storage. */
  open(storage: Storage): Promise<ReadAt>;
  /** True if numbers are stored with their highest byte first. */
  readonly bigEndian: boolean;
}

/** Collects the storages that a pickle speaks of. */
class Storages {
  readonly byKey = new Map<string, Storage>();

  constructor(readonly refuse: (reason: string) => never) {}

  /** ("storage", type, key, location, length), with a sixth item in files before torch 0.4. */
  persistent = (id: PickleValue): PickleValue => {
    const [tag, type, key, , length, view] = id instanceof PickledTuple ? id.items : [];
    const dtype = storageDtype(type);
    if (tag !== "storage" || typeof key !== "string" || !isNatural(length)) {
      return this.refuse("a storage is described in an unknown way");
    }
    if (!dtype) {
      return this.refuse(`storage "${key}" has elements that are no plain numbers`);
    }
    if (view) this.refuse(`storage "${key}" is a view on another: a file from before torch 0.4`);
    const storage: Storage = { kind: "storage", key, dtype, length };
    const known = this.byKey.get(key);
    if (known && (known.dtype !== dtype || known.length !== length)) {
      this.refuse(`storage "${key}" is described in two ways`);
    }
    if (!known) this.byKey.set(key, storage);
    return known ?? storage;
  };
}

/** Errors of a file that is damaged, or asks for more than tensors. */
function refusals(source: string): Pick<PickleOptions, "refuse" | "forbid"> {
  return {
    refuse: (reason) => {
      throw new InputError(
        `${source} is not a sound PyTorch file (${excerpt(reason)}): get the file again`,
      );
    },
    forbid: (global) => {
      throw new InputError(
        `${source} asks for ${
          excerpt(global)
        }, and nothing but tensors, numbers, texts, lists and dicts is ` +
          `read from a PyTorch file, so that none can run code: save the model's state_dict() alone`,
      );
    },
  };
}

/** The layout of torch 1.6 and later: a zip with data.pkl and one entry for each storage. */
async function openZipLayout(bytes: ByteSource): Promise<Container> {
  const { refuse, forbid } = refusals(bytes.name);
  const entries = await openZip(bytes, refuse);
  const pickles = [...entries.keys()].filter((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  if (pickles.length !== 1) refuse(`a zip with ${pickles.length} data.pkl instead of one`);
  const folder = pickles[0].slice(0, -"data.pkl".length);
  const readWhole = async (name: string, most: number): Promise<Uint8Array> => {
    const { size, open } = entries.get(name)!;
    if (size > most) refuse(`entry "${name}" has ${size} bytes`);
    const content = new Uint8Array(size);
    (await open())(0, content);
    return content;
  };

  const byteorder = `${folder}byteorder`;
  const order = entries.has(byteorder)
    ? new TextDecoder().decode(await readWhole(byteorder, 16))
    : "little";
  if (!["little", "big"].includes(order)) refuse(`the byte order "${order}"`);
  const storages = new Storages(refuse);
  const { value: content } = unpickle(await readWhole(pickles[0], MAXIMUM_PICKLE_BYTES), {
    globals: GLOBALS,
    persistent: storages.persistent,
    refuse,
    forbid,
  });
  for (const { key, dtype, length } of storages.byKey.values()) {
    const entry = entries.get(`${folder}data/${key}`);
    if (!entry) return refuse(`storage "${key}" is missing`);
    if (entry.size !== length * ITEM_SIZE[dtype]) {
      refuse(`storage "${key}" of ${length} ${dtype} has ${entry.size} bytes`);
    }
  }
  return {
    content,
    bigEndian: order === "big",
    open: ({ key }) => entries.get(`${folder}data/${key}`)!.open(),
  };
}

/**
 * The layout before torch 1.6: pickles of a magic number, the protocol, the system, the content and
 * the storages' keys, then each storage as its length and its bytes, always little-endian.
 */
function openLegacyLayout(bytes: ByteSource): Container {
  const { refuse, forbid } = refusals(bytes.name);
  const head = new Uint8Array(Math.min(bytes.size, MAXIMUM_PICKLE_BYTES));
  bytes.read(0, head);
  const storages = new Storages(refuse);
  let at = 0;
  const next = (persistent: PickleOptions["persistent"]): PickleValue => {
    const { value, end } = unpickle(head, { at, globals: GLOBALS, persistent, refuse, forbid });
    at = end;
    return value;
  };
  const none = (): never => refuse("a storage where none belongs");
  if (next(none) !== LEGACY_MAGIC) refuse("it begins with a pickle that is not torch.save's");
  const protocol = next(none);
  if (protocol !== 1001) {
    refuse(typeof protocol === "number" ? `protocol ${protocol}` : "its protocol is no number");
  }
  next(none); // byte order and sizes of the machine that wrote it: the storages do not depend on it
  const content = next(storages.persistent);
  const keys = next(none);
  if (!Array.isArray(keys)) return refuse("its storages are not listed");

  const places = new Map<string, number>();
  for (const key of keys) {
    if (typeof key !== "string") return refuse("its storages are not listed by texts");
    const storage = storages.byKey.get(key);
    if (!storage || places.has(storage.key)) return refuse(`storage "${key}" is listed in error`);
    if (at + 8 > bytes.size) refuse(`it ends before storage "${key}"`);
    const count = new Uint8Array(8);
    bytes.read(at, count);
    const length = new DataView(count.buffer).getBigInt64(0, true);
    if (length !== BigInt(storage.length)) {
      refuse(`storage "${key}" has ${length} elements instead of ${storage.length}`);
    }
    places.set(storage.key, at + 8);
    at += 8 + storage.length * ITEM_SIZE[storage.dtype];
    if (at > bytes.size) refuse(`storage "${key}" ends at byte ${at}, the file at ${bytes.size}`);
  }
  for (const key of storages.byKey.keys()) {
    if (!places.has(key)) refuse(`storage "${key}" is missing`);
  }
  return {
    content,
    bigEndian: false,
    open: ({ key }) =>
      Promise.resolve((from, target) => bytes.read(places.get(key)! + from, target)),
  };
}

/** Refuses a tensor that reaches beyond its storage. */
function checkTensor(
  name: string,
  { storage, dtype, offset, shape, stride }: PickledTensor,
  refuse: (reason: string) => never,
): void {
  // As torch does, count an axis of length 0 as 1 here: the product of the others must not overflow.
  if (!Number.isSafeInteger(elementCount(shape.map((length) => Math.max(1, length))))) {
    refuse(`tensor "${name}" has more elements than can be counted`);
  }
  const count = elementCount(shape);
  const available = Math.floor(storage.length * ITEM_SIZE[storage.dtype] / ITEM_SIZE[dtype]);
  if (count === 0) return;
  const last = shape.reduce((sum, length, axis) => sum + (length - 1) * stride[axis], offset);
  if (!(last < available)) {
    refuse(`tensor "${name}" reaches element ${last} of a storage of ${available}`);
  }
  if (count > Math.max(available, MAXIMUM_EXPANSION)) {
    refuse(
      `tensor "${name}" of shape [${shape}] repeats the elements of a storage of ${available}`,
    );
  }
}

/** Refuses tensors that are many views on few elements: reading them all would never end. */
function checkSharing(
  tensors: ReadonlyMap<string, PickledTensor>,
  refuse: (reason: string) => never,
): void {
  let count = 0;
  for (const { shape } of tensors.values()) count += elementCount(shape);
  let stored = 0;
  for (const storage of new Set(tensors.values().map(({ storage }) => storage))) {
    stored += storage.length;
  }
  if (count > Math.max(MAXIMUM_FREE_ELEMENTS, MAXIMUM_SHARING * stored)) {
    refuse(`its tensors have ${count} elements, all views on ${stored}`);
  }
}

/** The strides of a tensor that is stored in C order; those of axes of length 1 do not matter. */
function isContiguous({ shape, stride }: PickledTensor): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/** The elements of a tensor, in C order. */
async function readTensor(tensor: PickledTensor, container: Container): Promise<Float32Array> {
  const { dtype, offset, shape, stride, storage } = tensor;
  const count = elementCount(shape);
  if (count === 0) return new Float32Array(0);
  const read = await container.open(storage);
  const elements = (length: number): Float32Array =>
    readElements((at, target) => read(offset * ITEM_SIZE[dtype] + at, target), {
      dtype,
      length,
      bigEndian: container.bigEndian,
    });
  if (isContiguous(tensor)) return elements(count);

  const last = shape.reduce((sum, length, axis) => sum + (length - 1) * stride[axis], 0);
  const extent = elements(last + 1);
  const result = new Float32Array(count);
  const index = shape.map(() => 0);
  for (let i = 0, from = 0; i < count; i++) {
    result[i] = extent[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= shape[axis] * stride[axis];
      index[axis] = 0;
    }
  }
  return result;
}

/** Items of a list, tuple or dict, with the names they add to a path. */
function* children(value: PickleValue): Generator<[string, PickleValue]> {
  if (value instanceof Map) {
    for (const [key, item] of value) yield [key instanceof Object ? "?" : String(key), item];
    return;
  }
  const items = value instanceof PickledTuple ? value.items : value;
  if (!Array.isArray(items)) return;
  for (const [i, item] of items.entries()) yield [String(i), item];
}

/** Keys that training scripts keep the model's state dict under in a checkpoint. */
const USUAL_KEYS = [
  "model_state_dict",
  "model_state", // micro-sam
  "state_dict",
  "model",
  "module",
  "net",
  "weights",
];

/** Finds the tensors within values of one file, however often it is asked. */
class TensorFinder {
  readonly #refuse: (reason: string) => never;
  #visited = 0;

  constructor(refuse: (reason: string) => never) {
    this.#refuse = refuse;
  }

  /** The tensors of a value by their paths within it. */
  tensorsOf(value: PickleValue): Map<string, PickledTensor> {
    const found = new Map<string, PickledTensor>();
    this.#collect(value, "", { depth: 0, found });
    return found;
  }

  #collect(
    value: PickleValue,
    path: string,
    { depth, found }: { depth: number; found: Map<string, PickledTensor> },
  ): void {
    const refuse = this.#refuse;
    if (++this.#visited > MAXIMUM_VALUES) refuse(`more than ${MAXIMUM_VALUES} values`);
    if (depth > MAXIMUM_DEPTH) refuse(`lists and dicts nested more than ${MAXIMUM_DEPTH} deep`);
    if (path.length > MAXIMUM_NAME) refuse(`a name of ${path.length} letters`);
    if (isTensor(value)) {
      if (found.has(path)) refuse(`tensor "${path}" comes twice`);
      checkTensor(path, value, refuse);
      found.set(path, value);
      return;
    }
    for (const [name, item] of children(value)) {
      this.#collect(item, path ? `${path}.${name}` : name, { depth: depth + 1, found });
    }
  }
}

/** The part of a checkpoint under a key. */
function partOf(content: PickleValue, key: string, source: string): PickleValue {
  const parts = [...children(content)];
  const part = parts.find(([name]) => name === key);
  if (part) return part[1];
  const names = parts.map(([name]) => name).join(", ");
  throw new InputError(`${source} has no part "${key}": choose one of ${excerpt(names)}`);
}

/** The state dict of a checkpoint: the dict of tensors under one of the usual keys, or the only one. */
function stateDictOf(content: PickleValue, finder: TensorFinder, source: string): PickleValue {
  let state = content;
  for (let depth = 0; depth < MAXIMUM_DEPTH; depth++) {
    const parts = [...children(state)];
    if (parts.some(([, value]) => isTensor(value))) break;
    const candidates = parts.filter(([, value]) => finder.tensorsOf(value).size > 0);
    const usual = USUAL_KEYS.map((key) => candidates.find(([name]) => name === key));
    const chosen = usual.find((candidate) => candidate) ?? candidates[0];
    if (!chosen) {
      throw new InputError(
        `${source} holds no dict of tensors: save the model's state_dict() with torch.save`,
      );
    }
    if (candidates.length > 1 && !usual.includes(chosen)) {
      const names = excerpt(candidates.map(([name]) => name).join(", "));
      throw new InputError(
        `${source} holds several dicts of tensors (${names}): save the model's state_dict() alone`,
      );
    }
    state = chosen[1];
  }
  return state;
}

/**
 * Reads what `torch.save` wrote: the zip of torch 1.6 and later, or the layout before. Only the names
 * and places of the tensors are read at once. In a checkpoint of several parts the state dict is the
 * dict of tensors under `model_state_dict`, `model_state`, `state_dict`, `model`, `module`, `net` or
 * `weights`, or the only one. Nested names are joined by dots.
 *
 * A pickle is a program; this one can do nothing but make tensors, numbers, texts, lists, tuples and
 * dicts. Any other name in it is refused.
 *
 * @param bytes The file; it is disposed of with the result.
 * @param options.key The part of the checkpoint to take, such as "ema".
 * @throws {InputError} saying what is wrong with the file.
 */
export async function openTorch(
  bytes: ByteSource,
  options: { key?: string } = {},
): Promise<WeightSource> {
  const { refuse } = refusals(bytes.name);
  const start = new Uint8Array(Math.min(2, bytes.size));
  bytes.read(0, start);
  const container = start[0] === 0x50 ? await openZipLayout(bytes) : openLegacyLayout(bytes);
  const { content } = container;
  const finder = new TensorFinder(refuse);
  const found = finder.tensorsOf(
    options.key === undefined
      ? stateDictOf(content, finder, bytes.name)
      : partOf(content, options.key, bytes.name),
  );
  checkSharing(found, refuse);
  const tensors = new Map<string, LazyTensor>();
  for (const [name, tensor] of found) {
    tensors.set(name, {
      shape: tensor.shape,
      dtype: tensor.dtype,
      read: () => readTensor(tensor, container),
    });
  }
  return { source: bytes.name, tensors, [Symbol.dispose]: () => bytes[Symbol.dispose]() };
}
