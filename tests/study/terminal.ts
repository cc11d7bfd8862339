/**
 * Commands of `./run` in a terminal of their own, with keys and signals as a user sends them. Linux with
 * util-linux alone.
 *
 * @module
 */
import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** True where terminals can be made and processes listed. */
export const HAS_TERMINALS = Deno.build.os === "linux" &&
  await Deno.stat("/usr/bin/script").then(() => true, () => false);

/** The number of a run's last checkpoint; 0 for none. */
export function lastCheckpoint(run: string): number {
  try {
    return Math.max(
      0,
      ...[...Deno.readDirSync(join(run, "checkpoint"))].map(({ name }) => parseInt(name)),
    );
  } catch {
    return 0;
  }
}

/** Folders that processes run in, by process id; Deno itself reads /proc with every permission alone. */
async function processes(): Promise<Map<number, string>> {
  const { stdout } = await new Deno.Command("find", {
    args: ["/proc", "-maxdepth", "2", "-path", "/proc/[0-9]*/cwd", "-printf", "%h %l\\n"],
    stderr: "null",
  }).output();
  const lines = new TextDecoder().decode(stdout).matchAll(/^\/proc\/(\d+) (.*)$/gm);
  return new Map(Array.from(lines, ([, pid, cwd]) => [Number(pid), cwd]));
}

/** A command of `./run` in a terminal. */
export class Terminal {
  readonly #script: Deno.ChildProcess;
  readonly #keys: WritableStreamDefaultWriter<Uint8Array>;
  readonly #folder: string;
  #shown = "";
  readonly #read: Promise<void>;

  /**
   * Starts the command.
   *
   * @param options.cwd Folder that no other process runs in.
   */
  constructor(command: string, { cwd }: { cwd: string }) {
    this.#folder = cwd;
    this.#script = new Deno.Command("/usr/bin/script", {
      // The terminal's exit code is the command's.
      args: [
        "--quiet",
        "--return",
        "--command",
        `exec ${join(root, "run")} ${command}`,
        "/dev/null",
      ],
      cwd,
      env: { NO_COLOR: "1", SHELL: "/bin/sh", SAMLORA_CACHE: join(cwd, "cache") },
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#keys = this.#script.stdin.getWriter();
    this.#read = this.#listen();
  }

  async #listen(): Promise<void> {
    for await (const text of this.#script.stdout.pipeThrough(new TextDecoderStream())) {
      this.#shown += text;
    }
  }

  /** All that the terminal has shown. */
  get shown(): string {
    return this.#shown.replaceAll("\r\n", "\n");
  }

  /** Waits until the terminal has shown something; fails if the command ends before. */
  async waitFor(text: RegExp): Promise<void> {
    let ended = false;
    this.#script.status.then(() => ended = true);
    while (!text.test(this.shown)) {
      if (ended) throw new Error(`it ended before it showed ${text}:\n${this.shown}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Presses Ctrl-C: the terminal sends SIGINT to all processes in its foreground. */
  async interrupt(): Promise<void> {
    await this.#keys.write(new Uint8Array([3]));
  }

  /** Sends a signal to the process of `./run` alone: the first in the folder that is not the terminal. */
  async kill(signal: Deno.Signal): Promise<void> {
    const own = [...await processes()].filter(([pid, cwd]) =>
      cwd === this.#folder && pid !== this.#script.pid
    );
    // Of no process the least id is Infinity, which the system takes for 0: this very process and its group.
    if (own.length > 0) Deno.kill(Math.min(...own.map(([pid]) => pid)), signal);
  }

  /** Closes the terminal, as its window does: what runs in it gets a SIGHUP. */
  close(): void {
    this.#script.kill("SIGKILL");
  }

  /** Waits for the end; returns the exit code and the processes that are still there after some time. */
  async end(seconds = 0): Promise<{ code: number; left: number[] }> {
    const { code } = await this.#script.status;
    await this.#keys.close().catch(() => {});
    await this.#read.catch(() => {});
    const until = performance.now() + 1000 * seconds;
    let left: number[];
    do {
      await new Promise((resolve) => setTimeout(resolve, 50));
      left = [...await processes()].filter(([, cwd]) => cwd === this.#folder).map(([pid]) => pid);
    } while (left.length > 0 && performance.now() < until);
    return { code, left };
  }
}
