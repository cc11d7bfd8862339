import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** What a command left behind. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a script of experiments/ as its task does, with the permissions that its arguments call for, in
 * folder `cwd`.
 */
export async function runScript(
  script: string,
  args: readonly string[],
  { cwd }: { cwd: string },
): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: [join(root, "experiments", "run.sh"), script.replace(/\.ts$/, ""), ...args],
    cwd,
    env: { NO_COLOR: "1", SAMLORA_CACHE: join(cwd, "cache"), SAMLORA_DENO: Deno.execPath() },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}
