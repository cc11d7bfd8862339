import fc from "fast-check";
import { dirname, join } from "node:path";
import { InputError } from "../../lib/errors.ts";

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

/** Result of reading a case. */
export interface Outcome {
  readonly outcome: "read" | "refused" | "failed";
  /** Error or fault that a failure ended in. */
  readonly detail?: string;
  /** Wall milliseconds that reading took. */
  readonly ms: number;
}

/** The case of a number; it has a seed of its own, so that it can be made again without those before it. */
export function caseOf(kind: Kind, { seed, index }: { seed: number; index: number }): FuzzCase {
  return fc.sample(kind.cases, { seed: seed * 1_000_003 + index, numRuns: 1 })[0];
}

/** Writes a case's files into a folder. */
export async function writeFiles(folder: string, { files }: FuzzCase): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
    await Deno.writeFile(join(folder, path), bytes);
  }
}

/** Reads a case whose files are in a folder, and judges what came of it. */
export async function outcomeOf(
  kind: Kind,
  fuzzCase: FuzzCase,
  folder: string,
): Promise<Outcome> {
  const start = performance.now();
  const failed = (detail: string): Outcome => ({ outcome: "failed", detail, ms: 0 });
  try {
    await kind.read(folder, fuzzCase);
  } catch (error) {
    const ms = performance.now() - start;
    if (!(error instanceof InputError)) {
      return failed(error instanceof Error ? error.stack ?? String(error) : String(error));
    }
    if (fuzzCase.edits.length === 0) return failed(`a sound file is refused: ${error.message}`);
    const fault = unclear(error.message, folder);
    if (fault) return failed(`${fault}: ${error.message.slice(0, 2000)}`);
    return { outcome: "refused", ms };
  }
  return { outcome: "read", ms: performance.now() - start };
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
