import type { Gpu } from "../../lib/gpu/gpu.ts";

/** Milliseconds that one timed run should last, so that the wait for the device (10 ms) weighs little. */
const RUN_MILLISECONDS = 200;

/** Something to be timed: it does its work `repeats` times and answers in milliseconds for all. */
export type Timed = (repeats: number) => Promise<number>;

/** The middle value, or the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Times work that is encoded on our device: all repeats are queued, then awaited once. */
export function onDevice(gpu: Gpu, encode: () => void): Timed {
  return async (repeats) => {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) encode();
    await gpu.finish();
    return performance.now() - start;
  };
}

/**
 * Times several things in turns, so that what else runs on the machine strikes all alike. The first
 * run of each warms it up, the second tells how many repeats make a run long enough.
 *
 * @param options.rounds Timed runs of each.
 * @returns The median of the milliseconds that one repeat took, for each.
 */
export async function interleaved<Name extends string>(
  contestants: Readonly<Record<Name, Timed>>,
  { rounds }: { rounds: number },
): Promise<Record<Name, number>> {
  const names = Object.keys(contestants) as Name[];
  const repeats = {} as Record<Name, number>;
  const times = {} as Record<Name, number[]>;
  for (const name of names) {
    await contestants[name](1);
    const once = await contestants[name](1);
    repeats[name] = Math.max(1, Math.min(200, Math.ceil(RUN_MILLISECONDS / once)));
    times[name] = [];
  }
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      times[name].push(await contestants[name](repeats[name]) / repeats[name]);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(times[name])])) as Record<
    Name,
    number
  >;
}

/** Rows under a head as a Markdown table; numbers to the right, with three significant digits. */
export function table(head: readonly string[], rows: readonly (string | number)[][]): string {
  const cell = (value: string | number) =>
    typeof value === "string"
      ? value
      : value >= 100
      ? value.toFixed(0)
      : String(Number(value.toPrecision(3)));
  const right = head.map((_, i) => rows.some((row) => typeof row[i] === "number"));
  const lines = [head.map(String), ...rows.map((row) => row.map(cell))];
  const widths = head.map((_, i) => Math.max(4, ...lines.map((line) => line[i].length)));
  const text = lines.map((line) =>
    `| ${
      line.map((value, i) => right[i] ? value.padStart(widths[i]) : value.padEnd(widths[i])).join(
        " | ",
      )
    } |`
  );
  const rule = widths.map((width, i) => right[i] ? "-".repeat(width - 1) + ":" : "-".repeat(width));
  return [text[0], `| ${rule.join(" | ")} |`, ...text.slice(1)].join("\n");
}
