import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** What a command left behind. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs an experiment script as its task does, with the permissions that all tasks have and some of its
 * own, in folder `cwd`.
 */
export async function runScript(
  script: string,
  args: readonly string[],
  { cwd, permissions = [] }: { cwd: string; permissions?: readonly string[] },
): Promise<Outcome> {
  const allowed = ["read", "write", "env", "sys", ...permissions].map((name) => `--allow-${name}`);
  const config = join(root, "deno.json");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      `--config=${config}`,
      ...allowed,
      join(root, "experiments", script),
      ...args,
    ],
    cwd,
    env: { NO_COLOR: "1", SAMLORA_CACHE: join(cwd, "cache") },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}
