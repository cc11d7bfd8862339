/**
 * Runs hostile files in a process that may read and write one folder and nothing else, with a limit
 * on its heap, on all its memory and on the processor time of each case.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { cpSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** Result of the cases of a kind. */
export interface FuzzReport {
  /** The kind. */
  readonly kind: string;
  /** Seed it was made from. */
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
  /** Error or limit that it ended in. */
  readonly detail: string;
  /** Folder of its files. */
  readonly folder: string;
}

/** Number of cases, and their limits. */
export interface FuzzOptions {
  /** Cases to run. */
  readonly cases: number;
  /** Seed they are made from. */
  readonly seed: number;
  /** Folder for the files of failed cases. */
  readonly keep: string;
  /** Stops at so many failures; default 10. */
  readonly mostFailures?: number;
  /** Processor seconds of a case, which do not depend on what else the machine does; default 10. */
  readonly cpuSeconds?: number;
}

/** Wall seconds of a case: only one that waits forever takes as long. */
const WALL_SECONDS = 120;

/** Data that the process may map, in KiB: what Deno maps at its start, a worker's, and 768 MiB. */
const DATA_KIB = 2_150_000;

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

/**
 * Prints a process's /proc/PID/stat and its peak of resident KiB ten times a second, until it ends. A
 * shell does it: Deno itself reads /proc only with every permission.
 */
const WATCH = `
  while read -r stat < "/proc/$1/stat"; do
    peak=0
    while read -r field value _; do
      [ "$field" != VmHWM: ] || peak=$value
    done < "/proc/$1/status"
    printf '%s %s\n' "$peak" "$stat"
    sleep 0.1
  done 2> /dev/null`;

/** Processor seconds and peak resident MiB of a process while it runs; nothing where there is no /proc. */
async function* usage(pid: number): AsyncGenerator<{ seconds: number; peakMiB: number }> {
  if (Deno.build.os !== "linux") return;
  const watch = new Deno.Command("sh", {
    args: ["-c", WATCH, "watch", String(pid)],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  for await (const line of lines(watch.stdout)) {
    // PEAK PID (NAME) STATE …: the fields from the third on are free of spaces.
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    const seconds = (Number(fields[11]) + Number(fields[12])) / TICKS;
    yield { seconds, peakMiB: Number.parseInt(line) / 1024 };
  }
  await watch.status;
}

/** The command that runs cases `first` to `end`; the shell's limit holds for the whole process. */
function command(args: readonly string[], folder: string): Deno.Command {
  const deno = [
    "run",
    "--no-prompt",
    "--cached-only",
    `--config=${join(root, "deno.json")}`,
    // The DICOM converter reads its own WebAssembly, and a lease its worker's module in lib.
    `--allow-read=${
      [folder, ...["lib", "tests", "node_modules"].map((name) => join(root, name))].join()
    }`,
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

/** The whole lines of a stream. */
async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const all = (rest + text).split("\n");
    rest = all.pop()!;
    yield* all;
  }
}

/** Cases that one process ran. */
interface Life {
  /** Number of the case that it was at, or would have been at next. */
  readonly current: number;
  /** Error or limit that it ended in; null if it came to the last case. */
  readonly fault: string | null;
  /** Cases that were refused or read. */
  readonly outcomes: readonly ("refused" | "read")[];
  readonly slowestMs: number;
  readonly peakMiB: number;
}

/** Runs cases from the first on in a process of its own, to the last or to one that fails. */
async function live(
  args: readonly string[],
  { first, folder, cpuSeconds }: { first: number; folder: string; cpuSeconds: number },
): Promise<Life> {
  const child = command(args, folder).spawn();
  const stderr = new Response(child.stderr).text();
  const outcomes: ("refused" | "read")[] = [];
  let [current, slowestMs, peakMiB] = [first, 0, 0];
  let fault: string | null = null;
  let isDone = false;
  let seconds = 0;
  let began = { wall: performance.now(), seconds: 0 };
  const check = () => {
    const used = seconds - began.seconds;
    const wall = (performance.now() - began.wall) / 1000;
    if (fault !== null || isDone || (used <= cpuSeconds && wall <= WALL_SECONDS)) return;
    fault = `it took ${used.toFixed(1)} s of the processor, ${wall.toFixed(1)} s in all`;
    child.kill("SIGKILL");
  };
  const timer = setInterval(check, 1000); // where there is no /proc, and for what sleeps
  const watch = (async () => {
    for await (const now of usage(child.pid)) {
      seconds = now.seconds;
      peakMiB = Math.max(peakMiB, now.peakMiB);
      check();
    }
  })();
  for await (const line of lines(child.stdout)) {
    const message: Message = JSON.parse(line);
    if (message.start !== undefined) {
      current = message.start;
      began = { wall: performance.now(), seconds };
    } else if (message.outcome === "failed") fault = message.detail!;
    else if (message.outcome) {
      outcomes.push(message.outcome);
      slowestMs = Math.max(slowestMs, message.ms!);
      current = message.end! + 1;
    } else if (message.done) {
      isDone = true;
      await new Promise((resolve) => setTimeout(resolve, 250)); // the peak is read once more
      await child.stdin.close();
    }
  }
  clearInterval(timer);
  const { code, signal } = await child.status;
  await watch;
  const words = (await stderr).slice(-2000);
  if (!isDone && code === 0) fault ??= "it ended before its last case";
  if (!isDone) fault ??= `it died (${signal ?? code}): ${words}`;
  return { current, fault: isDone ? null : fault, outcomes, slowestMs, peakMiB };
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
    const life = await live(args, { first, folder, cpuSeconds });
    for (const outcome of life.outcomes) counts[outcome]++;
    slowestMs = Math.max(slowestMs, life.slowestMs);
    peakMiB = Math.max(peakMiB, life.peakMiB);
    first = life.current;
    if (life.fault !== null) {
      const kept = join(keep, `${kind}-${seed}-${first}`);
      await Deno.mkdir(dirname(kept), { recursive: true });
      await Deno.remove(kept, { recursive: true }).catch(() => {});
      cpSync(folder, kept, { recursive: true });
      await Deno.writeTextFile(join(kept, "detail.txt"), life.fault + "\n");
      failures.push({ index: first, detail: life.fault, folder: kept });
      first++;
    }
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

/** Sentence that must be said of each fault of the self-test. */
const SAYS: Readonly<Record<string, string>> = {
  hang: "s of the processor",
  allocate: "allocation failed",
  grow: "it died",
  recurse: "call stack",
  "throw another error": "TypeError",
  "say nothing": "the message is empty",
  "name no file": "the message names no file",
  "hide an error": "hides an error",
  "read elsewhere": "NotCapable",
  "write elsewhere": "NotCapable",
  "run a program": "NotCapable",
  "run code": "EvalError",
  exit: "it ended before its last case",
  "refuse a sound file": "a sound file is refused",
};

/** Asserts that a reader with a fault is caught, and its file kept. */
export async function assertCaught(fault: string): Promise<void> {
  const keep = await Deno.makeTempDir({ prefix: "samlora-fuzz-kept-" });
  const cpuSeconds = fault === "hang" ? 2 : 10;
  const { failures } = await fuzz(fault, { cases: 1, seed: 1, keep, cpuSeconds });
  assertEquals(failures.length, 1);
  assertStringIncludes(failures[0].detail, SAYS[fault]);
  assert((await Deno.stat(failures[0].folder)).isDirectory);
  await Deno.remove(keep, { recursive: true });
}
