/**
 * Reads the cases of one kind, one after another, and says which one it is at, so that the parent knows
 * whose fault it is if this process hangs, grows or dies:
 *   deno run … child.ts KIND SEED FIRST END FOLDER
 *
 * @module
 */
import { join } from "node:path";
import { kindNamed } from "./kinds/mod.ts";
import { caseOf, outcomeOf, writeFiles } from "./kind.ts";

const [name, seed, first, end, folder] = Deno.args;
const kind = kindNamed(name);
const caseFolder = join(folder, "case");
const encoder = new TextEncoder();
const say = (value: unknown) => {
  const line = encoder.encode(JSON.stringify(value) + "\n");
  for (let done = 0; done < line.length;) done += Deno.stdout.writeSync(line.subarray(done));
};

for (let index = Number(first); index < Number(end); index++) {
  const fuzzCase = caseOf(kind, { seed: Number(seed), index });
  await Deno.mkdir(caseFolder);
  await writeFiles(caseFolder, fuzzCase);
  await Deno.writeTextFile(join(folder, "edits.json"), JSON.stringify(fuzzCase.edits));
  say({ start: index });
  const result = await outcomeOf(kind, fuzzCase, caseFolder);
  say({ end: index, ...result });
  // The parent keeps the files of a case that failed.
  if (result.outcome === "failed") Deno.exit(3);
  await Deno.remove(caseFolder, { recursive: true });
}
say({ done: true });
await Array.fromAsync(Deno.stdin.readable); // the parent reads this process's peak memory meanwhile
