import type * as fc from "fast-check";

/** Files as a hostile sender would leave them, and how they were made. */
export interface FuzzCase {
  /** Changes of a sound file, in order; empty if it was left alone. */
  readonly edits: readonly string[];
  /** The files by their path in the case's folder. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Content that a sound file must be read as, where the reader of the kind cannot know it otherwise. */
  readonly expected?: unknown;
}

/** One kind of input file. */
export interface Kind {
  /** Its name on the command line and in reports. */
  readonly name: string;
  /** Hostile files, and sound ones among them. */
  readonly cases: fc.Arbitrary<FuzzCase>;
  /**
   * Reads the files with the program's readers, and checks what they give. Throws the readers'
   * InputError, or an AssertionError if they accepted what they should not have.
   */
  readonly read: (folder: string, fuzzCase: FuzzCase) => Promise<void>;
}

/** Why a reader's refusal is not a clear message; null if it is one. */
export function unclear(message: string, folder: string): string | null {
  if (message.trim() === "") return "the message is empty";
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f-\x9f]/.test(message)) return "the message holds control characters";
  if (message.length > 1500) return `the message has ${message.length} letters`;
  const masked =
    /allocation failed|call stack|is not a function|is not iterable|cannot read propert|undefined|invalid (typed )?array (buffer )?length|requires .* access|\[object|out of memory|code generation/i
      .exec(message);
  // A text of the file may hold such words, but then it is quoted from the case's own edits.
  if (masked) return `the message hides an error of ours (${masked[0]})`;
  if (!message.includes(folder)) return "the message names no file";
  return null;
}
