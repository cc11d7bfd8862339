// deno run -A tests/bench/half_precision.ts F32 F16: two folders of the same study, trained in single and in half
// precision, side by side as results/half_precision.md.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { promptName } from "../../lib/report/format.ts";
import { runMain } from "../../lib/study/main.ts";
import { type ComparisonTable, readTable } from "../../lib/study/results.ts";
import { table } from "./measure.ts";

type Row = ComparisonTable["rows"][number];

async function tableOf(folder: string | number | undefined): Promise<ComparisonTable> {
  if (folder === undefined) throw new InputError("name two studies: one in f32 and one in f16");
  const found = await readTable(String(folder));
  if (!found) throw new InputError(`${folder} holds no table of a study: name another`);
  return found;
}

/** One decimal, and a sign. */
function points(difference: number): string {
  return `${difference < 0 ? "−" : "+"}${Math.abs(100 * difference).toFixed(1)}`;
}

/** Cells of a row: Dice under each prompt in half precision, with the difference from f32, then memory of both. */
function cellsOf(row: Row, exact: Row, prompts: readonly string[]): string[] {
  return [
    row.model,
    ...prompts.map((prompt) => {
      const [before, after] = [exact, row].map(({ dice }) => dice[prompt].mean);
      return `${(100 * after).toFixed(1)} (${points(after - before)})`;
    }),
    [exact, row].map(({ peakGpuBytes: bytes }) => bytes ? (bytes / 2 ** 20).toFixed(0) : "–")
      .join(", "),
  ];
}

await runMain(async () => {
  const { _: [first, second] } = parseArgs(Deno.args, { string: ["_"] });
  const [exact, half] = [await tableOf(first), await tableOf(second)];
  const pairs = half.rows.flatMap((row) => {
    const other = exact.rows.find(({ model }) => model === row.model);
    return other && row.kind !== "trivial" ? [[row, other] as const] : [];
  });
  const prompts = Object.keys(pairs[0][0].dice);
  const differences = pairs.flatMap(([row, other]) =>
    prompts.map((prompt) => ({
      text: `${row.model}, ${promptName(prompt)}`,
      value: row.dice[prompt].mean - other.dice[prompt].mean,
    }))
  );
  const largest = differences.reduce((a, b) => Math.abs(a.value) > Math.abs(b.value) ? a : b);
  const text = [
    "# Half precision",
    `\`${half.context.command}\` beside \`${exact.context.command}\`, on ${half.context.adapter}: mean Dice over ` +
    `${half.context.splits.test.patients} patients in half precision, in %, with the difference from f32 in ` +
    `percentage points; of memory f32 comes first. One seed each, so that a difference says as much of the seed: ` +
    `[default](default/table.md) has the same rows by seed. The largest is ${
      points(largest.value)
    } ` +
    `(${largest.text}). Written by \`tests/bench/half_precision.ts\`.`,
    table(
      ["Model", ...prompts.map(promptName), "GPU memory (MiB)"],
      pairs.map(([row, other]) => cellsOf(row, other, prompts)),
    ),
  ];
  const path = join("results", "half_precision.md");
  await writeFileAtomic(path, text.join("\n\n") + "\n");
  console.log(path);
});
