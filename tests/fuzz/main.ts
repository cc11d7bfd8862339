// deno task fuzz [--cases N] [--kind A,B] [--seed N] [--keep DIR] [--out FILE]: hostile files of every kind.
import { parseArgs } from "@std/cli/parse-args";
import { writeFileAtomic } from "../../lib/fs.ts";
import { fuzz, type FuzzReport } from "./fuzz.ts";
import { KIND_NAMES } from "./kinds/mod.ts";

const options = parseArgs(Deno.args, { string: ["kind", "keep", "out"] });
const cases = Number(options.cases ?? 20_000);
const seed = Number(options.seed ?? 1);
const kinds = options.kind?.split(",") ?? KIND_NAMES;
const keep = options.keep ?? await Deno.makeTempDir({ prefix: "samlora-fuzz-kept-" });

console.log(`seed ${seed}, ${cases} cases a kind`);
const reports: FuzzReport[] = [];
for (const kind of kinds) {
  const report = await fuzz(kind, { cases, seed, keep });
  reports.push(report);
  const { failures, ...counts } = report;
  console.log(JSON.stringify(counts));
  for (const { index, detail, folder } of failures) {
    console.log(
      `  case ${index}, kept at ${folder}: ${detail.split("\n").slice(0, 3).join(" | ")}`,
    );
  }
}
if (options.out) {
  const sum = (field: "cases" | "refused" | "read") =>
    reports.reduce((total, report) => total + report[field], 0);
  const summary = {
    seed,
    cases: sum("cases"),
    refused: sum("refused"),
    read: sum("read"),
    failed: reports.reduce((total, { failures }) => total + failures.length, 0),
    kinds: reports.map(({ failures, ...counts }) => ({ ...counts, failed: failures.length })),
  };
  await writeFileAtomic(options.out, JSON.stringify(summary, null, 2) + "\n");
}
Deno.exit(reports.some(({ failures }) => failures.length > 0) ? 1 : 0);
