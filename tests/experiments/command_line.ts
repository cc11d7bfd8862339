import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** Exit code and output of a command. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command as `./run` starts it, in folder `cwd`. */
export function command(
  args: readonly string[],
  { cwd, env = {} }: { cwd: string; env?: Record<string, string> },
): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--permission-set=launcher",
      `--config=${join(root, "deno.json")}`,
      join(root, "experiments", "launch.ts"),
      ...args,
    ],
    cwd,
    env: { NO_COLOR: "1", INIT_CWD: cwd, SAMLORA_CACHE: join(cwd, "cache"), ...env },
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs a command of `./run` in folder `cwd`. */
export async function runCommand(
  args: readonly string[],
  options: { cwd: string },
): Promise<Outcome> {
  const { code, stdout, stderr } = await command(args, options).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** Runs a command until a file is there, and kills it then; one that ends before is left to end. */
export async function killCommand(
  args: readonly string[],
  { cwd, once }: { cwd: string; once: string },
): Promise<void> {
  const child = command(args, { cwd }).spawn();
  const output = child.output();
  let ended = false;
  output.then(() => ended = true);
  while (!ended && !await Deno.stat(join(cwd, once)).then(() => true, () => false)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (!ended) child.kill("SIGKILL");
  await output;
}
