// deno task faults [KILLS]: every fault, and fifty kills, of a tiny study; what came of them is written
// to results/faults.json.
import { join } from "node:path";
import { codeVersion } from "../../lib/study/environment.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { allFaults, runChain } from "./cases.ts";
import { killMany } from "./kills.ts";
import { TinyStudy } from "./tiny_study.ts";

const KILLS = Number(Deno.args[0] ?? 50);
const start = performance.now();
const failures: string[] = [];

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

await using study = await TinyStudy.make();
const kills = { killed: 0, resumedBitIdentically: 0, moments: {} as Counts };
type Counts = Record<string, number>;
const faults: Record<string, string> = {};

/** Writes down what came of it so far. */
async function summarize(): Promise<void> {
  const summary = {
    command: ["deno task faults", ...Deno.args].join(" "),
    date: new Date().toISOString(),
    code: await codeVersion(),
    secondsOfStudy: Math.round(10 * study.seconds) / 10,
    seconds: Math.round((performance.now() - start) / 1000),
    kills,
    faults,
    failures,
  };
  const path = join(import.meta.dirname!, "..", "..", "results", "faults.json");
  await writeFileAtomic(path, JSON.stringify(summary, null, 2) + "\n");
}

await killMany(study, {
  kills: KILLS,
  onKill: async ({ number, moment, error }) => {
    kills.killed++;
    kills.moments[moment] = (kills.moments[moment] ?? 0) + 1;
    if (error === undefined) kills.resumedBitIdentically++;
    else failures.push(`kill ${number}, ${moment}: ${reasonOf(error)}`);
    console.log(`kill ${number}, ${moment}: ${error ? reasonOf(error) : "whole"}`);
    await summarize();
  },
});
for (const chain of allFaults(study)) {
  await runChain(study, chain, async (name, run) => {
    try {
      faults[name] = await run();
      console.log(`${name}: ${faults[name]}`);
    } catch (error) {
      faults[name] = `failed: ${reasonOf(error).split("\n")[0]}`;
      failures.push(`${name}: ${reasonOf(error).split("\n")[0]}`);
      console.error(`${name}: FAILED: ${reasonOf(error)}`);
    }
    await summarize();
  });
}
const count = Object.keys(faults).length;
console.log(`${failures.length} failures of ${kills.killed} kills and ${count} faults`);
if (failures.length > 0) Deno.exitCode = 1;
