/**
 * Runs hostile files in a process that may read and write one folder and nothing else, with a limit
 * on its heap, on all its memory and on the processor time of each case.
 *
 * @module
 */
import { cpSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** What became of the cases of a kind. */
export interface FuzzReport {
  /** The kind. */
  readonly kind: string;
  /** What it was made from. */
  readonly seed: number;
  /** Cases that were read or refused. */
  readonly cases: number;
  /** Cases that ended in a clear message. */
  readonly refused: number;
  /** Cases that were read, and read rightly. */
  readonly read: number;
  /** The longest a case took, in milliseconds of wall time. */
  readonly slowestMs: number;
  /** The largest resident memory of a process, in MiB. */
  readonly peakMiB: number;
  /** Cases that ended in any other way. */
  readonly failures: readonly FuzzFailure[];
}

/** A case that was neither read nor refused. */
export interface FuzzFailure {
  /** The case's number. */
  readonly index: number;
  /** What happened. */
  readonly detail: string;
  /** Where its files are kept. */
  readonly folder: string;
}

/** How many cases, and within what limits. */
export interface FuzzOptions {
  /** Cases to run. */
  readonly cases: number;
  /** What they are made from. */
  readonly seed: number;
  /** Where the files of failed cases go. */
  readonly keep: string;
  /** Stops at so many failures; default 10. */
  readonly mostFailures?: number;
  /** Processor seconds of a case, which do not depend on what else the machine does; default 10. */
  readonly cpuSeconds?: number;
}

/** Wall seconds of a case: only one that waits forever takes as long. */
const WALL_SECONDS = 120;

/** Data that the process may map, in KiB: what Deno maps at its start, and 768 MiB. */
const DATA_KIB = 1_900_000;

/** V8's own heap, in MiB. */
const HEAP_MIB = 384;

/** The clock ticks of /proc a second, on every Linux in use. */
const TICKS = 100;

interface Message {
  start?: number;
  end?: number;
  outcome?: "refused" | "read" | "failed";
  detail?: string;
  ms?: number;
  done?: boolean;
}

/** Processor seconds and peak resident MiB of a process; null where there is no /proc. */
function usage(pid: number): { seconds: number; peakMiB: number } | null {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1].split(" ");
    const peak = /VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
    const seconds = (Number(stat[11]) + Number(stat[12])) / TICKS;
    return { seconds, peakMiB: Number(peak ?? 0) / 1024 };
  } catch {
    return null;
  }
}

/** The command that runs cases `first` to `end`; the shell's limit holds for the whole process. */
function command(args: readonly string[], folder: string): Deno.Command {
  const deno = [
    "run",
    "--no-prompt",
    "--cached-only",
    `--config=${join(root, "deno.json")}`,
    `--allow-read=${folder},${join(root, "tests")}`,
    `--allow-write=${folder}`,
    "--allow-env=SAMLORA_CACHE",
    `--v8-flags=--max-old-space-size=${HEAP_MIB},--disallow-code-generation-from-strings`,
    join(import.meta.dirname!, "child.ts"),
    ...args,
  ];
  const env = { NO_COLOR: "1", SAMLORA_CACHE: join(folder, "case") };
  const options = { stdin: "piped", stdout: "piped", stderr: "piped", env } as const;
  if (Deno.build.os !== "linux") {
    return new Deno.Command(Deno.execPath(), { args: deno, ...options });
  }
  const limited = `ulimit -d ${DATA_KIB}; exec "$0" "$@"`;
  return new Deno.Command("sh", { args: ["-c", limited, Deno.execPath(), ...deno], ...options });
}

/** The lines of a stream, parsed. */
async function* messages(stream: ReadableStream<Uint8Array>): AsyncGenerator<Message> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Runs cases of a kind and says what became of them. */
export async function fuzz(kind: string, options: FuzzOptions): Promise<FuzzReport> {
  const { cases, seed, keep, mostFailures = 10, cpuSeconds = 10 } = options;
  const failures: FuzzFailure[] = [];
  const counts = { refused: 0, read: 0 };
  let [slowestMs, peakMiB] = [0, 0];

  for (let first = 0; first < cases && failures.length < mostFailures;) {
    const folder = await Deno.makeTempDir({ prefix: "samlora-fuzz-" });
    const args = [kind, seed, first, cases, folder].map(String);
    const child = command(args, folder).spawn();
    const stderr = new Response(child.stderr).text();
    let current = first;
    let fault: string | null = null;
    let isDone = false;
    let began = { wall: performance.now(), seconds: usage(child.pid)?.seconds ?? 0 };
    const watch = setInterval(() => {
      const used = usage(child.pid);
      if (!used) return;
      peakMiB = Math.max(peakMiB, used.peakMiB);
      const wall = (performance.now() - began.wall) / 1000;
      if (used.seconds - began.seconds > cpuSeconds || wall > WALL_SECONDS) {
        fault = `it took ${(used.seconds - began.seconds).toFixed(1)} s of the processor, ` +
          `${wall.toFixed(1)} s in all`;
        child.kill("SIGKILL");
      }
    }, 50);
    for await (const message of messages(child.stdout)) {
      if (message.start !== undefined) {
        current = message.start;
        began = { wall: performance.now(), seconds: usage(child.pid)?.seconds ?? 0 };
      } else if (message.outcome === "failed") fault = message.detail!;
      else if (message.outcome) {
        counts[message.outcome]++;
        slowestMs = Math.max(slowestMs, message.ms!);
        current = message.end! + 1;
      } else if (message.done) {
        isDone = true;
        peakMiB = Math.max(peakMiB, usage(child.pid)?.peakMiB ?? 0);
        await child.stdin.close();
      }
    }
    clearInterval(watch);
    const { code, signal } = await child.status;
    if (!isDone) {
      const kept = join(keep, `${kind}-${seed}-${current}`);
      const detail = fault ??
        (code === 0
          ? "it ended before its last case"
          : `it died (${signal ?? code}): ${(await stderr).slice(-2000)}`);
      await Deno.mkdir(dirname(kept), { recursive: true });
      await Deno.remove(kept, { recursive: true }).catch(() => {});
      cpSync(folder, kept, { recursive: true });
      await Deno.writeTextFile(join(kept, "detail.txt"), detail + "\n");
      failures.push({ index: current, detail, folder: kept });
      current++;
    } else await stderr;
    first = current;
    await Deno.remove(folder, { recursive: true });
  }
  return {
    kind,
    seed,
    cases: counts.refused + counts.read,
    ...counts,
    slowestMs: Math.round(slowestMs),
    peakMiB: Math.round(peakMiB),
    failures,
  };
}
