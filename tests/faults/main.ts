// deno task faults: every fault, and fifty kills, of a tiny study; what came of them is written to
// results/faults.json.
import { join } from "node:path";
import { codeVersion } from "../../experiments/harness/environment.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { ALL_FAULTS } from "./cases.ts";
import { killOnce, WHOLE } from "./kills.ts";
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
const faults: Record<string, string> = {};

/** Writes down what came of it so far. */
async function summarize(): Promise<void> {
  const summary = {
    command: ["deno task faults", ...Deno.args].join(" "),
    date: new Date().toISOString(),
    code: await codeVersion(),
    secondsOfStudy: Math.round(10 * study.seconds) / 10,
    kills: moments,
    faults,
    failures,
  };
  const path = join(import.meta.dirname!, "..", "..", "results", "faults.json");
  await writeFileAtomic(path, JSON.stringify(summary, null, 2) + "\n");
}

// A study that had ended by itself was not killed: it does not count.
for (let number = 1, kills = 0; kills < KILLS; number++) {
  const moment = await tried(`kill ${number}`, () => killOnce(study, number));
  moments[moment] = (moments[moment] ?? 0) + 1;
  if (moment !== WHOLE) kills++;
  await summarize();
}
for (const { name, run } of ALL_FAULTS) {
  faults[name] = await tried(name, () => run(study));
  await summarize();
}
console.log(`${failures.length} failures of ${KILLS} kills and ${ALL_FAULTS.length} faults`);
if (failures.length > 0) Deno.exitCode = 1;
