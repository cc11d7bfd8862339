import { join } from "node:path";

/** Root of the repository. */
export const ROOT = join(import.meta.dirname!, "..", "..");

/** Milliseconds between asking a program to end and ending it. */
const PATIENCE = 3000;

/** Process ids of a process and all that it started, as far as the system tells: Linux has /proc. */
function familyOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  try {
    for (const { name } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      try {
        // The name of the program, in brackets, may hold anything; the parent is the second field after it.
        const stat = Deno.readTextFileSync(`/proc/${name}/stat`);
        const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
        children.set(parent, [...children.get(parent) ?? [], Number(name)]);
      } catch {
        // It has ended meanwhile.
      }
    }
  } catch {
    // There is no /proc.
  }
  const found = [pid];
  for (let i = 0; i < found.length; i++) found.push(...children.get(found[i]) ?? []);
  return found;
}

function kill(pids: readonly number[], signal: Deno.Signal): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, signal);
    } catch {
      // It has ended by itself.
    }
  }
}

/** End of a program. */
export interface Ended {
  readonly success: boolean;
  /** Its last line that reads like a reason. */
  readonly reason: string;
  readonly output: string;
}

/**
 * Runs Deno with these arguments in the repository; it and all that it started end with the signal.
 *
 * @param onLine Hears every line of its output.
 */
export async function runDeno(
  args: readonly string[],
  { signal, env = {}, onLine = () => {} }: {
    signal: AbortSignal;
    env?: Readonly<Record<string, string>>;
    onLine?: (line: string) => void;
  },
): Promise<Ended> {
  const process = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", INIT_CWD: ROOT, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = () => {
    const pids = familyOf(process.pid);
    kill(pids, "SIGTERM");
    timer = setTimeout(() => kill(pids, "SIGKILL"), PATIENCE);
  };
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  const lines: string[] = [];
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split(/\r?\n/);
      rest = parts.pop()!;
      for (const line of parts) {
        lines.push(line);
        onLine(line);
      }
    }
    if (rest) lines.push(rest);
  };
  await Promise.all([read(process.stdout), read(process.stderr)]);
  const { success } = await process.status;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
  const said = lines.map((line) => line.trim()).filter(Boolean);
  const reason = said.findLast((line) => /^error:/i.test(line)) ??
    said.findLast((line) => /error|cannot|failed/i.test(line)) ?? said.at(-1) ??
    "it gave no reason";
  return { success, reason, output: lines.join("\n") };
}

/**
 * Runs a program of the tests and gathers the lines of JSON that it prints.
 *
 * @param onAnswer Hears each.
 * @throws {Error} with its reason if it ends badly of itself.
 */
export async function answersOf<Answer>(
  program: string,
  args: readonly string[],
  { signal, env, onAnswer = () => {} }: {
    signal: AbortSignal;
    env?: Readonly<Record<string, string>>;
    onAnswer?: (answers: readonly Answer[]) => void;
  },
): Promise<Answer[]> {
  const answers: Answer[] = [];
  const onLine = (line: string) => {
    if (!line.startsWith("{")) return;
    answers.push(JSON.parse(line));
    onAnswer(answers);
  };
  const { success, reason } = await runDeno(["run", "-A", join(ROOT, program), ...args], {
    signal,
    env,
    onLine,
  });
  if (!success && !signal.aborted) throw new Error(reason);
  return answers;
}
