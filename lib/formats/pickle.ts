/** A Python tuple. */
export class PickledTuple {
  /** Takes over the items. */
  constructor(readonly items: readonly PickleValue[]) {}
}

/** A type or function of Python that a pickle may name. */
export interface PickleGlobal {
  /** Its full name in Python, such as `collections.OrderedDict`. */
  readonly global: string;
  /** Result of a call; absent if it is not to be called. Throws a RangeError on odd arguments. */
  readonly call?: (args: readonly PickleValue[]) => PickleValue;
}

/** Python values as they are read: a list as an array, a dict as a Map. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | PickledTuple
  | Map<PickleValue, PickleValue>
  | PickleGlobal
  | PickleObject;

/** Something made by a {@linkcode PickleGlobal} or from a persistent id. */
export interface PickleObject {
  /** Kind, set by whoever made it. */
  readonly kind: string;
}

/** Names that a pickle may use, and the errors of one that uses others. */
export interface PickleOptions {
  /** The names it may use, by module and name: `collections.OrderedDict`. */
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  /** Makes an object of a persistent id. */
  readonly persistent: (id: PickleValue) => PickleValue;
  /** Throws the error that says what is wrong with the pickle. */
  readonly refuse: (reason: string) => never;
  /** Throws the error that names a forbidden global. */
  readonly forbid: (global: string) => never;
}

/**
 * Steps of one pickle at most. The largest SAM with its optimiser takes some 100,000; each step makes
 * at most one object, so this bounds the memory as well.
 */
const MAXIMUM_STEPS = 500_000;

/**
 * Most steps of a pickle of so many bytes. Names and numbers take several bytes a step: checkpoints have
 * 0.3 to 0.55 steps a byte, and only one that makes empty containers without end comes near 1. Short
 * pickles are harmless whatever their steps.
 */
function stepsOf(bytes: number): number {
  return Math.min(MAXIMUM_STEPS, 2 ** 14 + 0.75 * bytes);
}

/** Longest integer, in bytes; torch's magic number has ten. */
const MAXIMUM_INTEGER_BYTES = 16;

/** Marks where the items of a list, tuple or dict begin on the stack. */
const MARK: PickleObject = { kind: "mark" };

/** State of the machine that a pickle is a program of: a stack, its marks and a memo. */
class Unpickler {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #options: PickleOptions;
  readonly #stack: PickleValue[] = [];
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();
  readonly refuse: PickleOptions["refuse"];
  /** Position of the next byte. */
  at: number;

  constructor(bytes: Uint8Array, options: PickleOptions, at: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#options = options;
    this.refuse = options.refuse;
    this.at = at;
  }

  #skip(length: number): number {
    const start = this.at;
    if (length > this.#bytes.length - start) this.refuse("its pickle is cut off");
    this.at += length;
    return start;
  }

  u8 = (): number => this.#bytes[this.#skip(1)];
  u16 = (): number => this.#view.getUint16(this.#skip(2), true);
  u32 = (): number => this.#view.getUint32(this.#skip(4), true);
  i32 = (): number => this.#view.getInt32(this.#skip(4), true);
  f64 = (): number => this.#view.getFloat64(this.#skip(8));
  u64 = (): number => {
    const value = this.#view.getBigUint64(this.#skip(8), true);
    return value > this.#bytes.length ? this.refuse("its pickle is cut off") : Number(value);
  };

  raw(length: number): Uint8Array {
    const start = this.#skip(length);
    return this.#bytes.subarray(start, start + length);
  }

  text(length: number): string {
    const part = this.raw(length);
    try {
      return UTF8.decode(part);
    } catch {
      return this.refuse("a text in its pickle is not UTF-8");
    }
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.at);
    if (end < 0) this.refuse("its pickle is cut off");
    const content = this.text(end - this.at);
    this.at++;
    return content;
  }

  integer(length: number): number | bigint {
    if (length > MAXIMUM_INTEGER_BYTES) this.refuse(`an integer of ${length} bytes in its pickle`);
    let value = 0n;
    this.raw(length).forEach((byte, i) => value |= BigInt(byte) << BigInt(8 * i));
    value = BigInt.asIntN(8 * length, value);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  /** The stack from here on belongs to the innermost open list, tuple or dict. */
  #floor(): number {
    return this.#marks.length > 0 ? this.#marks[this.#marks.length - 1] + 1 : 0;
  }

  top(): PickleValue {
    if (this.#stack.length > this.#floor()) return this.#stack[this.#stack.length - 1];
    return this.refuse("its pickle takes more from the stack than is there");
  }

  pop(): PickleValue {
    const value = this.top();
    this.#stack.length--;
    return value;
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
    this.#stack.push(MARK);
  }

  /** Takes what lies above the last mark, and the mark. */
  popToMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) return this.refuse("its pickle has a mark too few");
    return this.#stack.splice(mark).slice(1);
  }

  /** Drops the value on top, or the last mark if there is none above it. */
  drop(): void {
    if (this.#stack.length > 0 && this.#stack[this.#stack.length - 1] === MARK) this.popToMark();
    else this.pop();
  }

  tuple(length: number): void {
    const items = Array.from({ length }, () => this.pop()).reverse();
    this.push(new PickledTuple(items));
  }

  get(key: number): void {
    const value = this.#memo.get(key);
    if (value === undefined) {
      return this.refuse(`its pickle recalls entry ${key}, which it never stored`);
    }
    this.push(value);
  }

  put(key: number = this.#memo.size): void {
    this.#memo.set(key, this.top());
  }

  append(items: readonly PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) return this.refuse("its pickle appends to something that is no list");
    for (const item of items) list.push(item);
  }

  setItems(items: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) return this.refuse("its pickle fills something that is no dict");
    if (items.length % 2 === 1) this.refuse("its pickle has a key without a value");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  }

  global(name: string): void {
    this.push(this.#options.globals.get(name) ?? this.#options.forbid(name));
  }

  stackGlobal(): void {
    const name = this.pop();
    const module = this.pop();
    // A list may stand for more text than there are atoms: it is never made one.
    if (typeof name !== "string" || typeof module !== "string") {
      return this.refuse("its pickle names a type by something that is no text");
    }
    this.global(`${module}.${name}`);
  }

  call(): void {
    const args = this.pop();
    const callee = this.pop();
    const { global, call } = (callee ?? {}) as Partial<PickleGlobal>;
    if (!call || !(args instanceof PickledTuple)) {
      return this.refuse(`its pickle calls ${global ?? "something that is no function"}`);
    }
    try {
      this.push(call(args.items));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.refuse(`its pickle calls ${global} with odd arguments: ${error.message}`);
    }
  }

  /** Takes an OrderedDict's attributes, such as a state dict's _metadata, away. */
  build(): void {
    this.pop();
    if (!(this.top() instanceof Map)) {
      this.refuse("its pickle sets attributes of something but a dict");
    }
  }

  persistent(): void {
    this.push(this.#options.persistent(this.pop()));
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });
const LATIN1 = new TextDecoder("latin1");

/** The operations by their opcodes; STOP is the loop's own. */
const OPERATIONS: Readonly<Record<string, (machine: Unpickler) => void>> = {
  "\x80": (m) => { // PROTO
    const protocol = m.u8();
    if (protocol < 2 || protocol > 5) m.refuse(`a pickle of protocol ${protocol}`);
  },
  "\x95": (m) => m.u64(), // FRAME
  "(": (m) => m.mark(),
  "0": (m) => m.drop(), // POP
  "1": (m) => m.popToMark(), // POP_MARK
  "2": (m) => m.push(m.top()), // DUP
  "N": (m) => m.push(null),
  "\x88": (m) => m.push(true),
  "\x89": (m) => m.push(false),
  "J": (m) => m.push(m.i32()),
  "K": (m) => m.push(m.u8()),
  "M": (m) => m.push(m.u16()),
  "\x8a": (m) => m.push(m.integer(m.u8())),
  "\x8b": (m) => m.push(m.integer(m.u32())),
  "G": (m) => m.push(m.f64()),
  "X": (m) => m.push(m.text(m.u32())),
  "\x8c": (m) => m.push(m.text(m.u8())),
  "\x8d": (m) => m.push(m.text(m.u64())),
  "U": (m) => m.push(LATIN1.decode(m.raw(m.u8()))), // a str of Python 2
  "T": (m) => m.push(LATIN1.decode(m.raw(m.u32()))),
  "C": (m) => m.push(m.raw(m.u8())),
  "B": (m) => m.push(m.raw(m.u32())),
  "\x8e": (m) => m.push(m.raw(m.u64())),
  "]": (m) => m.push([]),
  "l": (m) => m.push(m.popToMark()),
  "a": (m) => m.append([m.pop()]),
  "e": (m) => m.append(m.popToMark()),
  ")": (m) => m.tuple(0),
  "\x85": (m) => m.tuple(1),
  "\x86": (m) => m.tuple(2),
  "\x87": (m) => m.tuple(3),
  "t": (m) => m.push(new PickledTuple(m.popToMark())),
  "}": (m) => m.push(new Map()),
  "s": (m) => {
    const value = m.pop();
    m.setItems([m.pop(), value]);
  },
  "u": (m) => m.setItems(m.popToMark()),
  "c": (m) => m.global(`${m.line()}.${m.line()}`),
  "\x93": (m) => m.stackGlobal(),
  "R": (m) => m.call(), // REDUCE
  "\x81": (m) => m.call(), // NEWOBJ
  "b": (m) => m.build(),
  "Q": (m) => m.persistent(),
  "h": (m) => m.get(m.u8()),
  "j": (m) => m.get(m.u32()),
  "q": (m) => m.put(m.u8()),
  "r": (m) => m.put(m.u32()),
  "\x94": (m) => m.put(),
};

/**
 * Reads one pickle of protocol 2 to 5. Nothing is executed: a global that is not among
 * `options.globals` ends the reading, and those that are make plain values. Steps, and with them
 * stack and memo, are bounded by the number of bytes and by a constant; nothing recurses.
 *
 * Source: CPython, Lib/pickletools.py, which documents every opcode.
 *
 * @returns the value, and the position after the pickle.
 */
export function unpickle(
  bytes: Uint8Array,
  options: PickleOptions & { at?: number },
): { value: PickleValue; end: number } {
  const { at = 0, refuse } = options;
  const machine = new Unpickler(bytes, options, at);
  const maximumSteps = stepsOf(bytes.length - at);
  for (let step = 0; step < maximumSteps; step++) {
    const opcode = machine.u8();
    const name = String.fromCharCode(opcode);
    if (name === ".") return { value: machine.pop(), end: machine.at };
    if (!Object.hasOwn(OPERATIONS, name)) {
      refuse(`its pickle uses opcode 0x${opcode.toString(16)}, which no tensors need`);
    }
    OPERATIONS[name](machine);
  }
  return refuse(`its pickle takes more than ${Math.floor(maximumSteps)} steps`);
}
