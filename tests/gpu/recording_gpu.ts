/** A call of a WebGPU method, such as "GPUDevice.createBuffer". */
export interface Call {
  /** Interface and method. */
  readonly method: string;
  /** Its arguments. */
  readonly args: readonly unknown[];
}

/** Stands in for methods by name: gets the real one and its arguments. */
export type Replacements = Readonly<
  Record<string, (real: (...args: unknown[]) => unknown, ...args: unknown[]) => unknown>
>;

/**
 * A WebGPU implementation that hands everything on to Deno's and writes down each call. All objects
 * that come out of it are its own, and Deno's refuses those that do not.
 */
export class RecordingGpu {
  /** The object to give to `Gpu.open`. */
  readonly gpu: GPU;
  /** Calls since it was made, or since they were last cleared. */
  calls: Call[] = [];
  readonly #replacements: Replacements;
  readonly #wrappers = new WeakMap<object, object>();
  readonly #originals = new WeakMap<object, object>();

  /** Wraps Deno's implementation. */
  constructor(replacements: Replacements = {}) {
    this.#replacements = replacements;
    this.gpu = this.#wrap(navigator.gpu) as GPU;
  }

  /** Number of calls of a method. */
  count(method: string): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  #wrap(value: unknown): unknown {
    if (value instanceof Promise) return value.then((result) => this.#wrap(result));
    const name = (value as object | null)?.constructor?.name;
    if (!name?.startsWith("GPU") || /Info|Limits|Features|Error/.test(name)) return value;
    const original = value as object;
    let wrapper = this.#wrappers.get(original);
    if (!wrapper) {
      const methods = new Map<PropertyKey, unknown>();
      wrapper = new Proxy(original, {
        get: (target, key) => {
          if (!methods.has(key)) {
            const member = Reflect.get(target, key, target);
            if (typeof member !== "function") return this.#wrap(member);
            methods.set(key, this.#method(`${name}.${String(key)}`, member.bind(target)));
          }
          return methods.get(key);
        },
        set: (target, key, member) => Reflect.set(target, key, member, target),
      });
      this.#wrappers.set(original, wrapper);
      this.#originals.set(wrapper, original);
    }
    return wrapper;
  }

  #method(method: string, real: (...args: unknown[]) => unknown) {
    const replacement = this.#replacements[method];
    return (...args: unknown[]) => {
      this.calls.push({ method, args });
      const unwrapped = args.map((arg) => this.#unwrap(arg));
      return this.#wrap(replacement ? replacement(real, ...unwrapped) : real(...unwrapped));
    };
  }

  /** The originals of wrapped objects, also within descriptors. */
  #unwrap(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    const original = this.#originals.get(value);
    if (original) return original;
    if (Array.isArray(value)) return value.map((item) => this.#unwrap(item));
    if (Object.getPrototypeOf(value) !== Object.prototype) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, this.#unwrap(item)]),
    );
  }
}
