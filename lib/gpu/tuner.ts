import { join } from "node:path";
import { writeFileAtomic } from "../fs.ts";

/** One way to do a piece of work. */
export interface Variant {
  /** Its name, unique among the ways to do that work. */
  readonly name: string;
  /** Does the work so many times and answers in milliseconds for all. */
  time(repeats: number): Promise<number>;
}

/** What was chosen, for a run's record. */
export interface Tuning {
  /** The adapter it holds for: name, driver and lanes of a subgroup. */
  readonly adapter: string;
  /** Hash of the kernels it holds for. */
  readonly version: string;
  /** The variant's name for each piece of work. */
  readonly choices: Readonly<Record<string, string>>;
}

/** Milliseconds that a timed run should last, so that the wait for the device (10 ms) weighs little. */
const RUN_MILLISECONDS = 40;

/** Timed runs of a variant, of which the shortest counts: other work only ever lengthens one. */
const RUNS = 3;

/**
 * Chooses among variants of a kernel by measuring them on this very adapter, once: choices are kept in
 * a file for each adapter and version of the kernels, so that later runs start with them and measure
 * nothing. Until its work is measured the first variant, the static choice, is taken.
 */
export class Tuner {
  readonly #path: string;
  readonly #adapter: string;
  readonly #version: string;
  readonly #choices: Map<string, string>;
  readonly #pending = new Map<string, readonly Variant[]>();

  private constructor(path: string, tuning: Tuning) {
    this.#path = path;
    this.#adapter = tuning.adapter;
    this.#version = tuning.version;
    this.#choices = new Map(Object.entries(tuning.choices));
  }

  /**
   * Reads the choices made before. A file that is missing, damaged or about something else counts as none
   * and is replaced.
   *
   * @param options.folder Where the files are kept.
   * @param options.sources What the version is the hash of: the kernels' sources.
   */
  static async open(
    options: { folder: string; adapter: string; sources: readonly string[] },
  ): Promise<Tuner> {
    const { folder, adapter, sources } = options;
    const version = await hash(sources.join("\n"));
    const path = join(folder, `${await hash(`${adapter}\n${version}`)}.json`);
    const text = await Deno.readTextFile(path).catch(() => "");
    const choices = choicesIn(text, { adapter, version }) ?? {};
    return new Tuner(path, { adapter, version, choices });
  }

  /** What has been chosen so far. */
  get tuning(): Tuning {
    return {
      adapter: this.#adapter,
      version: this.#version,
      choices: Object.fromEntries([...this.#choices].sort(([a], [b]) => a < b ? -1 : 1)),
    };
  }

  /** Whether work has turned up that no choice was made for. */
  get isPending(): boolean {
    return this.#pending.size > 0;
  }

  /**
   * The name of the variant to take.
   *
   * @param work Says what is to be done: equal strings mean that the same variant is best.
   * @param names Of all variants, the static choice first.
   * @param variants Makes them ready to be measured later; called once for each piece of work.
   */
  choose(work: string, names: readonly string[], variants: () => readonly Variant[]): string {
    const chosen = this.#choices.get(work);
    // A name from a file that fits but for this entry is measured anew.
    if (chosen !== undefined && names.includes(chosen)) return chosen;
    if (names.length > 1 && !this.#pending.has(work)) this.#pending.set(work, variants());
    return names[0];
  }

  /** Measures what has turned up, takes the fastest of each and writes the file. */
  async measure(): Promise<void> {
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const [work, variants] of pending) {
      const repeats: number[] = [];
      for (const variant of variants) {
        await variant.time(1); // compiles
        const once = await variant.time(1);
        repeats.push(Math.max(1, Math.min(100, Math.ceil(RUN_MILLISECONDS / once))));
      }
      const best = variants.map(() => Infinity);
      // In turns, so that what else runs on the machine strikes all alike.
      for (let run = 0; run < RUNS; run++) {
        for (const [i, variant] of variants.entries()) {
          best[i] = Math.min(best[i], await variant.time(repeats[i]) / repeats[i]);
        }
      }
      this.#choices.set(work, variants[best.indexOf(Math.min(...best))].name);
    }
    if (pending.length > 0) {
      await writeFileAtomic(this.#path, JSON.stringify(this.tuning, null, 2) + "\n");
    }
  }
}

/** The choices of a file; null if it is damaged or about another adapter or version. */
function choicesIn(
  text: string,
  { adapter, version }: { adapter: string; version: string },
): Record<string, string> | null {
  try {
    const tuning: Partial<Tuning> | null = JSON.parse(text);
    if (tuning?.adapter !== adapter || tuning.version !== version) return null;
    const { choices } = tuning;
    if (typeof choices !== "object" || choices === null || Array.isArray(choices)) return null;
    return Object.values(choices).every((name) => typeof name === "string") ? choices : null;
  } catch {
    return null;
  }
}

/** The first 16 hexadecimal digits of a text's SHA-256. */
async function hash(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].slice(0, 8).map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
