// deno task fuzz [--cases N] [--kind A,B] [--seed N] [--keep DIR] [--out FILE]: hostile files of every kind.
import { parseArgs } from "@std/cli/parse-args";
import { codeVersion } from "../../lib/study/environment.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { fuzz, type FuzzReport } from "./fuzz.ts";
import { KIND_NAMES } from "./kinds/mod.ts";

const options = parseArgs(Deno.args, { string: ["kind", "keep", "out"] });
const cases = Number(options.cases ?? 20_000);
const seed = Number(options.seed ?? 1);
const kinds = options.kind?.split(",") ?? KIND_NAMES;
const keep = options.keep ?? await Deno.makeTempDir({ prefix: "samlora-fuzz-kept-" });

/** One kind's counts in the summary. */
type Counts = Omit<FuzzReport, "failures"> & { failed: number; code: string; date: string };

/** Writes what became of all kinds: those of an earlier run that were not run again stay. */
async function summarise(path: string, counts: readonly Counts[]): Promise<void> {
  const earlier: { kinds: Counts[] } = await Deno.readTextFile(path)
    .then(JSON.parse, () => ({ kinds: [] }));
  const all = new Map([...earlier.kinds, ...counts].map((kind) => [kind.kind, kind]));
  const kinds = KIND_NAMES.flatMap((name) => all.get(name) ?? []);
  const sum = (field: "cases" | "refused" | "read" | "failed") =>
    kinds.reduce((total, kind) => total + kind[field], 0);
  const summary = {
    cases: sum("cases"),
    refused: sum("refused"),
    read: sum("read"),
    failed: sum("failed"),
    slowestMs: Math.max(...kinds.map(({ slowestMs }) => slowestMs)),
    peakMiB: Math.max(...kinds.map(({ peakMiB }) => peakMiB)),
    kinds,
  };
  await writeFileAtomic(path, JSON.stringify(summary, null, 2) + "\n");
}

console.log(`seed ${seed}, ${cases} cases a kind`);
const code = await codeVersion();
const counts: Counts[] = [];
for (const kind of kinds) {
  const { failures, ...report } = await fuzz(kind, { cases, seed, keep });
  const date = new Date().toISOString().slice(0, 10);
  counts.push({ ...report, failed: failures.length, code, date });
  console.log(JSON.stringify(counts.at(-1)));
  for (const { index, detail, folder } of failures) {
    console.log(
      `  case ${index}, kept at ${folder}: ${detail.split("\n").slice(0, 3).join(" | ")}`,
    );
  }
  if (options.out) await summarise(options.out, counts);
}
Deno.exit(counts.some(({ failed }) => failed > 0) ? 1 : 0);
