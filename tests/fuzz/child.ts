/**
 * Reads the cases of one kind, one after another, and says which one it is at, so that the parent knows
 * whose fault it is if this process hangs, grows or dies:
 *   deno run … child.ts KIND SEED FIRST END FOLDER
 *
 * @module
 */
import fc from "fast-check";
import { dirname, join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { kindNamed } from "./kinds/mod.ts";
import { unclear } from "./kind.ts";

const [name, seed, first, end, folder] = Deno.args;
const kind = kindNamed(name);
const encoder = new TextEncoder();
const say = (value: unknown) => {
  const line = encoder.encode(JSON.stringify(value) + "\n");
  for (let done = 0; done < line.length;) done += Deno.stdout.writeSync(line.subarray(done));
};

async function outcome(index: number): Promise<{ outcome: string; detail?: string; ms?: number }> {
  const caseFolder = join(folder, "case");
  // Each case has a seed of its own, so that it can be made again without the ones before it.
  const [fuzzCase] = fc.sample(kind.cases, { seed: Number(seed) * 1_000_003 + index, numRuns: 1 });
  Deno.mkdirSync(caseFolder);
  for (const [path, bytes] of Object.entries(fuzzCase.files)) {
    Deno.mkdirSync(dirname(join(caseFolder, path)), { recursive: true });
    Deno.writeFileSync(join(caseFolder, path), bytes);
  }
  Deno.writeTextFileSync(join(folder, "edits.json"), JSON.stringify(fuzzCase.edits));
  say({ start: index });
  const start = performance.now();
  try {
    await kind.read(caseFolder, fuzzCase);
  } catch (error) {
    const ms = performance.now() - start;
    if (!(error instanceof InputError)) {
      const detail = error instanceof Error ? error.stack ?? String(error) : String(error);
      return { outcome: "failed", detail };
    }
    if (fuzzCase.edits.length === 0) {
      return { outcome: "failed", detail: `a sound file is refused: ${error.message}` };
    }
    const fault = unclear(error.message, folder);
    return fault
      ? { outcome: "failed", detail: `${fault}: ${error.message.slice(0, 2000)}` }
      : { outcome: "refused", ms };
  }
  return { outcome: "read", ms: performance.now() - start };
}

for (let index = Number(first); index < Number(end); index++) {
  const result = await outcome(index);
  say({ end: index, ...result });
  // The parent keeps the files of a case that failed.
  if (result.outcome === "failed") Deno.exit(3);
  Deno.removeSync(join(folder, "case"), { recursive: true });
}
say({ done: true });
await Array.fromAsync(Deno.stdin.readable); // the parent reads this process's peak memory meanwhile
