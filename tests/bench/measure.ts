import type { Gpu } from "../../lib/gpu/gpu.ts";

/** Milliseconds that one timed run should last, so that the wait for the device (10 ms) weighs little. */
const RUN_MILLISECONDS = 200;

/** Milliseconds beyond which a warm-up run need not be repeated to tell how long a run takes. */
const SLOW_MILLISECONDS = 2000;

/** Milliseconds that all timed runs of one contestant may take, unless the first takes longer. */
const BUDGET_MILLISECONDS = 30_000;

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

/** Milliseconds that `work` kept the host, and how many of them in queue.submit. */
export function hostTime(gpu: Gpu, work: () => void): { milliseconds: number; submit: number } {
  const { queue } = gpu.device;
  let submit = 0;
  const original = queue.submit;
  queue.submit = (buffers) => {
    const start = performance.now();
    original.call(queue, buffers);
    submit += performance.now() - start;
  };
  try {
    const start = performance.now();
    work();
    gpu.flush();
    return { milliseconds: performance.now() - start, submit };
  } finally {
    queue.submit = original;
  }
}

/** Options of timing a contestant. */
interface Runs {
  /** Repeats of one timed run. */
  readonly repeats: number;
  /** Timed runs. */
  readonly rounds: number;
  /** Milliseconds a repeat, of every timed run. */
  readonly times: number[];
}

/**
 * Times several things in turns, so that what else runs on the machine strikes all alike. The first
 * run of each warms it up, the second (for what is slow, the first) tells how many repeats make a run
 * long enough, and how many rounds the budget allows.
 *
 * @param options.rounds Timed runs of each, at most.
 * @param options.warm All have run before: the first run of what is slow counts.
 * @param options.budget Milliseconds for the timed runs of each; default half a minute.
 * @returns The median of the milliseconds that one repeat took, for each.
 */
export async function interleaved<Name extends string>(
  contestants: Readonly<Record<Name, Timed>>,
  { rounds, warm = false, budget = BUDGET_MILLISECONDS }: {
    rounds: number;
    warm?: boolean;
    budget?: number;
  },
): Promise<Record<Name, number>> {
  const names = Object.keys(contestants) as Name[];
  const runs = new Map<Name, Runs>();
  for (const name of names) {
    let once = await contestants[name](1);
    const slow = once > SLOW_MILLISECONDS;
    if (!slow && !warm) once = await contestants[name](1);
    const repeats = Math.max(1, Math.min(200, Math.ceil(RUN_MILLISECONDS / once)));
    const affordable = Math.floor(budget / (once * repeats));
    const times = slow && warm ? [once] : [];
    runs.set(name, { repeats, rounds: Math.max(1, Math.min(rounds, affordable)), times });
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, { repeats, rounds, times }] of runs) {
      if (times.length < rounds) times.push(await contestants[name](repeats) / repeats);
    }
  }
  return Object.fromEntries([...runs].map(([name, { times }]) => [name, median(times)])) as Record<
    Name,
    number
  >;
}

/** Rows under a head as a Markdown table; numbers to the right, with three significant digits; NaN is a dash. */
export function table(head: readonly string[], rows: readonly (string | number)[][]): string {
  const cell = (value: string | number) =>
    typeof value === "string"
      ? value
      : !Number.isFinite(value)
      ? "–"
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
