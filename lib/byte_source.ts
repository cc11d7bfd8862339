import { InputError } from "./errors.ts";

/**
 * Bytes that can be read from anywhere: a file on disk or a buffer. Disposing of it twice is the same
 * as once.
 */
export interface ByteSource extends Disposable {
  /** Name for messages, such as a path. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /**
   * Fills `target` with the bytes from `at` on.
   *
   * @throws {InputError} if they do not all exist.
   */
  read(at: number, target: Uint8Array): void;
}

/** Throws the error of a source that has `missing` bytes fewer than were asked for. */
export function endsEarly(name: string, missing: number): never {
  throw new InputError(`${name} ends ${missing} bytes too early: get the file again`);
}

/** Bytes in memory as a {@linkcode ByteSource}; nothing is copied. */
export function bytesOf(content: Uint8Array, options: { source: string }): ByteSource {
  return {
    name: options.source,
    size: content.length,
    read(at, target) {
      const missing = at + target.length - content.length;
      if (missing > 0) endsEarly(options.source, missing);
      target.set(content.subarray(at, at + target.length));
    },
    [Symbol.dispose]() {},
  };
}

/** All bytes of a source. */
export function allBytes(source: ByteSource): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(source.size);
  source.read(0, bytes);
  return bytes;
}

/** The bytes of several parts, one after another. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
