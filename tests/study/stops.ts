// Stops tiny studies in a terminal again and again, in every phase, and counts what is lost:
//   deno run -A tests/study/stops.ts [--presses 50] [--terms 50] [--seed 1]
// A stop in training is lost if no checkpoint follows it; a stop anywhere is an orphan's if a process is
// left after it; a study whose adapter is not that of an undisturbed one has lost a bit.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { Random } from "../../lib/random.ts";
import { tinyDataset } from "../experiments/tiny_dataset.ts";
import { lastCheckpoint, Terminal } from "./terminal.ts";

const OPTIONS = "--data data --side 64 --epochs 3 --batch-size 1 --ranks 2 --baselines vanilla " +
  "--encoder-ranks none --wise-ft 1 --test-prompts tight-box,point --checkpoint-minutes 60";

/** Phases of a study by what the terminal shows in them, each with seconds within which a stop comes. */
const PHASES: readonly (readonly [name: string, shown: RegExp, seconds: number])[] = [
  ["start", /^/, 1.5],
  ["slicing", /Cutting slices/, 0.1],
  ["caching", /Results: |Going on with /, 1],
  ["training", /epoch \d\/3,.*loss/, 2],
  ["scoring", /LoRA-2[^\n]*, test,/, 0.5],
  ["report", /Dice under the/, 0.3],
];

const { presses, terms, seed } = parseArgs(Deno.args, {
  default: { presses: 50, terms: 50, seed: 1 },
});
const random = new Random(Number(seed));
const folder = await tinyDataset(6);
let studies = 0;

/** The adapter of a study that is whole; null for one that is not. */
async function adapterOf(out: string): Promise<string | null> {
  if (!await Deno.stat(join(folder, out, "table.json")).catch(() => null)) return null;
  const path = join(folder, out, "adapters", "lora_2", "adapter_model.safetensors");
  return (await Deno.readFile(path)).toBase64();
}

/** Stops the study of a folder once in a phase; false if it had ended before. */
async function stop(out: string, kind: "Ctrl-C" | "SIGTERM", phase: typeof PHASES[number]) {
  const [name, shown, seconds] = phase;
  const isBegun = await Deno.stat(join(folder, out, "resume.json")).catch(() => null);
  const how = isBegun ? `--resume ${out}` : `${OPTIONS} --out ${out}`;
  const terminal = new Terminal(`experiments ${how}`, { cwd: folder });
  const ended = await terminal.waitFor(shown).then(() => false, () => true);
  await new Promise((done) => setTimeout(done, 1000 * seconds * random.uniform()));
  const run = join(folder, out, "lora_2");
  const before = lastCheckpoint(run);
  if (!ended) {
    await (kind === "Ctrl-C" ? terminal.interrupt() : terminal.kill(kind)).catch(() => {});
  }
  const { code, left } = await terminal.end(10);
  const saving = terminal.shown.includes("saving, then ending");
  const isLost = saving && lastCheckpoint(run) <= before && await adapterOf(out) === null;
  console.log(
    `${kind} in ${name}: exit code ${code}${saving ? ", saved" : ""}${isLost ? ", LOST" : ""}` +
      (left.length > 0 ? `, ORPHANS ${left}` : ""),
  );
  if (isLost) console.log(terminal.shown);
  return { counted: code === 130 || code === 143, isLost, orphans: left.length };
}

await stop("undisturbed", "Ctrl-C", ["nothing", /^never$/, 0]);
const undisturbed = await adapterOf("undisturbed");
for (const [kind, times] of [["Ctrl-C", presses], ["SIGTERM", terms]] as const) {
  const sums = { stops: 0, lost: 0, orphans: 0, differ: 0, studies: 0 };
  for (let i = 0, out = ""; sums.stops < Number(times); i++) {
    if (out === "" || await adapterOf(out) !== null) {
      out = `study_${++studies}`;
      await Deno.remove(join(folder, "cache"), { recursive: true }).catch(() => {});
    }
    const { counted, isLost, orphans } = await stop(out, kind, PHASES[i % PHASES.length]);
    if (counted) sums.stops++;
    if (isLost) sums.lost++;
    sums.orphans += orphans;
    const adapter = await adapterOf(out);
    if (adapter === null) continue;
    sums.studies++;
    if (adapter !== undisturbed) sums.differ++;
  }
  console.log(
    `${kind}: ${sums.stops} stops, ${sums.lost} lost, ${sums.orphans} processes left; ` +
      `${sums.studies} studies came to their end, ${sums.differ} of them with another adapter`,
  );
}
await Deno.remove(folder, { recursive: true });
