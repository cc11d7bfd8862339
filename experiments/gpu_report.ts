// ./run gpu-report: starts the program of the tests that measures, with their benchmarks, what a GPU does.
import { join } from "node:path";
import { InputError } from "../lib/errors.ts";
import { signalNames } from "../lib/study/interruption.ts";
import { runCommand } from "../lib/study/main.ts";
import { commands } from "./commands.ts";

const PROGRAM = join(import.meta.dirname!, "..", "tests/gpu_report/main.ts");

await runCommand(commands["gpu-report"], async ({ values, line }) => {
  const isThere = await Deno.stat(PROGRAM).then(() => true, () => false);
  if (!isThere) {
    throw new InputError(
      "gpu-report measures with the tests, which the package leaves out: take the repository",
    );
  }
  const { out, minutes, python, parts, pack } = values;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "-A",
      PROGRAM,
      JSON.stringify({ out, minutes, python, parts, pack, line }),
    ],
  }).spawn();
  // It ends by itself with what there is.
  for (const name of signalNames()) {
    Deno.addSignalListener(name, () => {
      try {
        child.kill(name);
      } catch {
        // It has ended.
      }
    });
  }
  Deno.exit((await child.status).code);
});
