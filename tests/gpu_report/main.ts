// Measures what a GPU does, for ./run gpu-report, which starts this with its values as JSON.
import { excerpt, InputError } from "../../lib/errors.ts";
import { makeFolder } from "../../lib/fs.ts";
import { openGpu, withVersion } from "../../lib/study/device.ts";
import { listDevices } from "../../lib/study/devices.ts";
import { describeAdapter, describeEnvironment } from "../../lib/study/environment.ts";
import { signalNames } from "../../lib/study/interruption.ts";
import { runMain } from "../../lib/study/main.ts";
import { pack } from "./pack.ts";
import { writePage } from "./page.ts";
import type { Outcome, Part } from "./part.ts";
import { parts as all } from "./parts/mod.ts";
import { runParts } from "./plan.ts";

/** Values of the command. */
interface Options {
  readonly out: string;
  readonly minutes: number;
  readonly python: string | null;
  /** Names of the parts that are wanted; null for all. */
  readonly parts: readonly string[] | null;
  readonly pack: boolean;
  /** The command as it was typed. */
  readonly line: string;
}

/** Aborted by the first signal to stop; the second, later than the echoes of the first, ends the program. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  let first = 0;
  for (const name of signalNames()) {
    Deno.addSignalListener(name, () => {
      if (stop.signal.aborted && performance.now() - first > 1000) Deno.exit(130);
      if (!stop.signal.aborted) {
        console.log(`stopping by ${name}: what was measured is on the page`);
      }
      first ||= performance.now();
      stop.abort();
    });
  }
  return stop.signal;
}

/** The parts of these names. */
function chosenParts(names: readonly string[] | null): readonly Part[] {
  const unknown = names?.find((name) => !all.some((part) => part.name === name));
  if (unknown !== undefined) {
    const known = all.map(({ name }) => name).join(", ");
    throw new InputError(`--parts: there is no part ${excerpt(unknown)}: choose ${known}`);
  }
  return names === null ? all : all.filter(({ name }) => names.includes(name));
}

async function report({ out, minutes, python, parts: names, line }: Options): Promise<void> {
  const start = performance.now();
  const parts = chosenParts(names);
  const stop = stopSignal();
  if (python !== null) await checkPython(python);
  const gpu = await openGpu({ webgpu: "deno", family: null });
  const adapter = withVersion(gpu.info);
  await gpu[Symbol.asyncDispose]();
  console.log(describeAdapter(adapter));
  const environment = await describeEnvironment(adapter, { command: line, weights: null });
  const devices = await listDevices();
  await makeFolder(out);
  const outcomes: Outcome[] = [];
  const write = () => writePage(out, { environment, minutes, outcomes }, parts);
  const seconds = 60 * minutes - (performance.now() - start) / 1000;
  for await (const outcome of runParts(parts, { adapter, devices, python, seconds, stop })) {
    outcomes.push(outcome);
    const { title, state, reason, seconds } = outcome;
    console.log(`${title}: ${state}${reason ? `, ${reason}` : ""} (${seconds.toFixed(0)} s)`);
    await write();
  }
  console.log(`Written: ${out}/report.html`);
  Deno.exit(stop.aborted ? 130 : 0); // a driver may keep a thread
}

/** Refuses a Python that lacks PyTorch. */
async function checkPython(python: string): Promise<void> {
  const remedy = "name a Python with torch, numpy and safetensors, or leave --python out";
  try {
    const { success } = await new Deno.Command(python, {
      args: ["-c", "import torch, numpy, safetensors"],
      stdout: "null",
      stderr: "null",
    }).output();
    if (!success) {
      throw new InputError(
        `--python ${python} cannot import torch, numpy and safetensors: ${remedy}`,
      );
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `--python ${python} cannot be run (${(error as Error).message}): ${remedy}`,
    );
  }
}

await runMain(async () => {
  const options: Options = JSON.parse(Deno.args[0]);
  await (options.pack ? pack(options.out) : report(options));
});
