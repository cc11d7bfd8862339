import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** What a command left behind. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A script of experiments/ as its task runs it, with the permissions that its arguments call for. */
function command(script: string, args: readonly string[], cwd: string): Deno.Command {
  return new Deno.Command("sh", {
    args: [join(root, "experiments", "run.sh"), script.replace(/\.ts$/, ""), ...args],
    cwd,
    env: { NO_COLOR: "1", SAMLORA_CACHE: join(cwd, "cache"), SAMLORA_DENO: Deno.execPath() },
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs a script of experiments/ in folder `cwd`. */
export async function runScript(
  script: string,
  args: readonly string[],
  { cwd }: { cwd: string },
): Promise<Outcome> {
  const { code, stdout, stderr } = await command(script, args, cwd).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** Runs a script until a file is there, and kills it then; a script that ends before is left to end. */
export async function killScript(
  script: string,
  args: readonly string[],
  { cwd, once }: { cwd: string; once: string },
): Promise<void> {
  const child = command(script, args, cwd).spawn();
  const output = child.output();
  let ended = false;
  output.then(() => ended = true);
  while (!ended && !await Deno.stat(join(cwd, once)).then(() => true, () => false)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (!ended) child.kill("SIGKILL");
  await output;
}
