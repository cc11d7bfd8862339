import type { Outcome, Part, PartContext } from "./part.ts";

/** Seconds that are kept for ending programs and writing the page. */
const RESERVE = 5;

/** Reason of parts that somebody's signal stopped, or kept from beginning. */
const STOPPED = "the report was stopped";

/** Runs parts one after the other, as long as there is time. */
export async function* runParts(
  parts: readonly Part[],
  { seconds, stop, ...given }: Omit<PartContext, "seconds" | "signal" | "keep"> & {
    readonly seconds: number;
    /** Aborted when somebody asks to stop. */
    readonly stop: AbortSignal;
  },
): AsyncGenerator<Outcome> {
  const end = performance.now() + 1000 * (seconds - RESERVE);
  for (const part of parts) {
    const left = Math.floor((end - performance.now()) / 1000);
    const needs = part.needs[given.adapter.type];
    const { name, title } = part;
    if (stop.aborted || left < needs) {
      const reason = stop.aborted
        ? STOPPED
        : `it takes ${needs} seconds, and ${Math.max(0, left)} were left`;
      yield { name, title, state: "not run", reason, seconds: 0, result: null };
      continue;
    }
    yield await runPart(part, { ...given, seconds: Math.min(left, part.most ?? left), stop });
  }
}

async function runPart(
  part: Part,
  { stop, ...given }: Omit<PartContext, "signal" | "keep"> & { readonly stop: AbortSignal },
): Promise<Outcome> {
  const { name, title } = part;
  const start = performance.now();
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), 1000 * given.seconds);
  const signal = AbortSignal.any([stop, over.signal]);
  let kept: unknown = null;
  const outcome = (state: Outcome["state"], reason: string | null, result: unknown): Outcome => ({
    name,
    title,
    state,
    reason,
    seconds: (performance.now() - start) / 1000,
    result,
  });
  const cut = () => stop.aborted ? STOPPED : `its ${given.seconds} seconds were over`;
  try {
    const result = await part.run({ ...given, signal, keep: (result) => kept = result });
    return signal.aborted ? outcome("partial", cut(), result) : outcome("done", null, result);
  } catch (error) {
    const reason = (error as Error).message.split("\n")[0].replace(
      /^error: (Uncaught \(in promise\) )?(\w*Error: )?|\.$/g,
      "",
    );
    if (kept !== null) return outcome("partial", signal.aborted ? cut() : reason, kept);
    return signal.aborted
      ? outcome("not run", `${cut()} before there was a figure`, null)
      : outcome("failed", reason, null);
  } finally {
    clearTimeout(timer);
  }
}
