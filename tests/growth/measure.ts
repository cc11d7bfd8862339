import { join } from "node:path";
import { V8_FLAGS } from "../../lib/study/launcher.ts";
import type { Measured } from "./figure.ts";

const root = join(import.meta.dirname!, "..", "..");

/** Ticks of the kernel's clock in a second. */
const TICKS = 100;

/** Runs a program of experiments/, and watches its memory and the processor time of all its threads. */
export async function measure(
  cwd: string,
  script: string,
  args: readonly string[],
): Promise<Measured> {
  const start = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", V8_FLAGS, `--config=${join(root, "deno.json")}`]
      .concat(join(root, "experiments", script), args),
    cwd,
    env: { NO_COLOR: "1", SAMLORA_CACHE: join(cwd, "cache"), XDG_RUNTIME_DIR: cwd },
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  let peak = 0;
  let cpuSeconds = 0;
  const watch = setInterval(() => {
    try {
      const text = Deno.readTextFileSync(`/proc/${child.pid}/status`);
      const stat = Deno.readTextFileSync(`/proc/${child.pid}/stat`).split(") ")[1].split(" ");
      cpuSeconds = (Number(stat[11]) + Number(stat[12])) / TICKS;
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(text)?.[1] ?? 0) * 1024);
    } catch {
      // It has ended.
    }
  }, 20);
  const { code } = await child.status;
  clearInterval(watch);
  if (code !== 0) throw new Error(`${script} ended with code ${code}`);
  return { seconds: (performance.now() - start) / 1000, cpuSeconds, bytes: peak };
}
