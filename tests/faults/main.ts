// deno task faults: every fault, and fifty kills, of a tiny study; what came of them is written to
// results/faults.json.
import { join } from "node:path";
import { codeVersion } from "../../experiments/harness/environment.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { ALL_FAULTS } from "./cases.ts";
import { killOnce } from "./kills.ts";
import { TinyStudy } from "./tiny_study.ts";

const KILLS = Number(Deno.args[0] ?? 50);
const failures: string[] = [];

/** Notes a failure and goes on. */
async function tried(name: string, run: () => Promise<string>): Promise<string> {
  try {
    const said = await run();
    console.log(`${name}: ${said}`);
    return said;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    console.error(`${name}: FAILED: ${error instanceof Error ? error.message : error}`);
    failures.push(`${name}: ${reason}`);
    return `failed: ${reason}`;
  }
}

await using study = await TinyStudy.make();
const moments: Record<string, number> = {};
for (let number = 1; number <= KILLS; number++) {
  const moment = await tried(`kill ${number}`, () => killOnce(study, number));
  moments[moment] = (moments[moment] ?? 0) + 1;
}
const faults: Record<string, string> = {};
for (const { name, run } of ALL_FAULTS) faults[name] = await tried(name, () => run(study));

const summary = {
  command: ["deno task faults", ...Deno.args].join(" "),
  date: new Date().toISOString(),
  code: await codeVersion(),
  kills: { made: KILLS, moments },
  faults: { made: ALL_FAULTS.length, endings: faults },
  failures,
};
const path = join(import.meta.dirname!, "..", "..", "results", "faults.json");
await writeFileAtomic(path, JSON.stringify(summary, null, 2) + "\n");
console.log(`${failures.length} failures of ${KILLS + ALL_FAULTS.length}: ${path}`);
if (failures.length > 0) Deno.exitCode = 1;
