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
 * Steps of a pickle of so many bytes. Names and numbers take several bytes a step: checkpoints have
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
  const { globals, persistent, refuse, forbid } = options;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  const latin1 = new TextDecoder("latin1");
  const stack: PickleValue[] = [];
  const marks: number[] = [];
  const memo = new Map<number, PickleValue>();
  let at = options.at ?? 0;

  const skip = (length: number): number => {
    const start = at;
    if (length > bytes.length - at) refuse("its pickle is cut off");
    at += length;
    return start;
  };
  const u8 = (): number => bytes[skip(1)];
  const u16 = (): number => view.getUint16(skip(2), true);
  const u32 = (): number => view.getUint32(skip(4), true);
  const u64 = (): number => {
    const value = view.getBigUint64(skip(8), true);
    return value > bytes.length ? refuse("its pickle is cut off") : Number(value);
  };
  const raw = (length: number): Uint8Array => {
    const start = skip(length);
    return bytes.subarray(start, start + length);
  };
  const text = (length: number): string => {
    const part = raw(length);
    try {
      return utf8.decode(part);
    } catch {
      return refuse("a text in its pickle is not UTF-8");
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(10, at);
    if (end < 0) refuse("its pickle is cut off");
    const content = text(end - at);
    at++;
    return content;
  };
  const integer = (length: number): number | bigint => {
    if (length > MAXIMUM_INTEGER_BYTES) refuse(`an integer of ${length} bytes in its pickle`);
    let value = 0n;
    raw(length).forEach((byte, i) => value |= BigInt(byte) << BigInt(8 * i));
    value = BigInt.asIntN(8 * length, value);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  };

  /** The stack from `floor` on belongs to the innermost open list, tuple or dict. */
  const floor = (): number => marks.length > 0 ? marks[marks.length - 1] + 1 : 0;
  const pop = (): PickleValue => {
    if (stack.length <= floor()) refuse("its pickle takes more from the stack than is there");
    return stack.pop()!;
  };
  const top = (): PickleValue => {
    if (stack.length <= floor()) refuse("its pickle takes more from the stack than is there");
    return stack[stack.length - 1];
  };
  const popToMark = (): PickleValue[] => {
    const mark = marks.pop();
    if (mark === undefined) return refuse("its pickle has a mark too few");
    return stack.splice(mark).slice(1);
  };
  const tuple = (length: number): void => {
    const items = Array.from({ length }, pop).reverse();
    stack.push(new PickledTuple(items));
  };
  const get = (key: number): void => {
    const value = memo.get(key);
    if (value === undefined) {
      return refuse(`its pickle recalls entry ${key}, which it never stored`);
    }
    stack.push(value);
  };
  const append = (items: readonly PickleValue[]): void => {
    const list = top();
    if (!Array.isArray(list)) return refuse("its pickle appends to something that is no list");
    for (const item of items) list.push(item);
  };
  const setItems = (items: readonly PickleValue[]): void => {
    const dict = top();
    if (!(dict instanceof Map)) return refuse("its pickle fills something that is no dict");
    if (items.length % 2 === 1) refuse("its pickle has a key without a value");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  };
  const pushGlobal = (global: string): void => {
    stack.push(globals.get(global) ?? forbid(global));
  };
  const call = (): void => {
    const args = pop();
    const callee = pop();
    const { global, call } = (callee ?? {}) as Partial<PickleGlobal>;
    if (!call || !(args instanceof PickledTuple)) {
      return refuse(`its pickle calls ${global ?? "something that is no function"}`);
    }
    try {
      stack.push(call(args.items));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      refuse(`its pickle calls ${global} with odd arguments: ${error.message}`);
    }
  };

  const maximumSteps = stepsOf(bytes.length - at);
  for (let step = 0; step < maximumSteps; step++) {
    const opcode = u8();
    switch (String.fromCharCode(opcode)) {
      case "\x80": { // PROTO
        const protocol = u8();
        if (protocol < 2 || protocol > 5) refuse(`a pickle of protocol ${protocol}`);
        break;
      }
      case "\x95": // FRAME
        u64();
        break;
      case ".": { // STOP
        const value = pop();
        return { value, end: at };
      }
      case "(":
        marks.push(stack.length);
        stack.push(MARK);
        break;
      case "0": // POP
        if (stack.length > 0 && stack[stack.length - 1] === MARK) popToMark();
        else pop();
        break;
      case "1": // POP_MARK
        popToMark();
        break;
      case "2": // DUP
        stack.push(top());
        break;
      case "N":
        stack.push(null);
        break;
      case "\x88":
        stack.push(true);
        break;
      case "\x89":
        stack.push(false);
        break;
      case "J":
        stack.push(view.getInt32(skip(4), true));
        break;
      case "K":
        stack.push(u8());
        break;
      case "M":
        stack.push(u16());
        break;
      case "\x8a":
        stack.push(integer(u8()));
        break;
      case "\x8b":
        stack.push(integer(u32()));
        break;
      case "G":
        stack.push(view.getFloat64(skip(8)));
        break;
      case "X":
        stack.push(text(u32()));
        break;
      case "\x8c":
        stack.push(text(u8()));
        break;
      case "\x8d":
        stack.push(text(u64()));
        break;
      case "U": // a str of Python 2
        stack.push(latin1.decode(raw(u8())));
        break;
      case "T":
        stack.push(latin1.decode(raw(u32())));
        break;
      case "C":
        stack.push(raw(u8()));
        break;
      case "B":
        stack.push(raw(u32()));
        break;
      case "\x8e":
        stack.push(raw(u64()));
        break;
      case "]":
        stack.push([]);
        break;
      case "l":
        stack.push(popToMark());
        break;
      case "a":
        append([pop()]);
        break;
      case "e":
        append(popToMark());
        break;
      case ")":
        tuple(0);
        break;
      case "\x85":
        tuple(1);
        break;
      case "\x86":
        tuple(2);
        break;
      case "\x87":
        tuple(3);
        break;
      case "t":
        stack.push(new PickledTuple(popToMark()));
        break;
      case "}":
        stack.push(new Map());
        break;
      case "s": {
        const value = pop();
        setItems([pop(), value]);
        break;
      }
      case "u":
        setItems(popToMark());
        break;
      case "c":
        pushGlobal(`${line()}.${line()}`);
        break;
      case "\x93": { // STACK_GLOBAL
        const name = pop();
        const module = pop();
        // A list may stand for more text than there are atoms: it is never made one.
        if (typeof name !== "string" || typeof module !== "string") {
          return refuse("its pickle names a type by something that is no text");
        }
        pushGlobal(`${module}.${name}`);
        break;
      }
      case "R": // REDUCE
      case "\x81": // NEWOBJ
        call();
        break;
      case "b": // BUILD: only an OrderedDict's attributes, such as a state dict's _metadata
        pop();
        if (!(top() instanceof Map)) refuse("its pickle sets attributes of something but a dict");
        break;
      case "Q":
        stack.push(persistent(pop()));
        break;
      case "h":
        get(u8());
        break;
      case "j":
        get(u32());
        break;
      case "q":
        memo.set(u8(), top());
        break;
      case "r":
        memo.set(u32(), top());
        break;
      case "\x94":
        memo.set(memo.size, top());
        break;
      default:
        refuse(`its pickle uses opcode 0x${opcode.toString(16)}, which no tensors need`);
    }
  }
  return refuse(`its pickle takes more than ${Math.floor(maximumSteps)} steps`);
}
