import { assert, assertEquals } from "@std/assert";
import { basename, join, relative } from "node:path";
import { tinyDataset } from "../experiments/tiny_dataset.ts";
import type { Fault } from "./fault.ts";

const root = join(import.meta.dirname!, "..", "..");

/** Exit code and output of a program. */
export interface Outcome {
  /** Its exit code; 128 and the signal's number if a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program under way. */
export interface Running {
  readonly process: Deno.ChildProcess;
  /** When it was started, in milliseconds since 1970. */
  readonly begun: number;
  readonly outcome: Promise<Outcome>;
}

/**
 * A tiny study with everything that a stop could change: dropout, mixed prompts, flips, weight decay,
 * a last batch that is short, checkpoints after every step.
 */
export class TinyStudy implements AsyncDisposable {
  /** The folder with the data set, its cache and results. */
  readonly folder: string;
  /** Files of the undisturbed study. */
  whole: Map<string, string> = new Map();
  /** Its duration, in seconds. */
  seconds = 0;
  /** The files that it wrote, relative to its folder, in their order; with the seconds at which. */
  written: { readonly file: string; readonly second: number }[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** A folder with the data set alone. */
  static async empty(): Promise<TinyStudy> {
    return new TinyStudy(await tinyDataset(6));
  }

  /** Runs the study once, undisturbed. */
  static async make(): Promise<TinyStudy> {
    const study = await TinyStudy.empty();
    const start = performance.now();
    const log = join(study.folder, "written");
    await study.succeed(study.begin("undisturbed", { fault: { log } }));
    study.seconds = (performance.now() - start) / 1000;
    study.whole = await study.results("undisturbed");
    study.written = (await Deno.readTextFile(log)).trim().split("\n").map((line) => {
      const [milliseconds, path] = line.split(" ");
      return { file: relative("undisturbed", path), second: Number(milliseconds) / 1000 };
    }).filter(({ file }) => !file.startsWith(".."));
    return study;
  }

  /** Begins the study in a folder of its own. */
  begin(
    out: string,
    { fault, args = [] }: { fault?: Fault; args?: readonly string[] } = {},
  ): Running {
    return this.run("experiment.ts", [
      "lora_2",
      "--data",
      "data",
      "--out",
      out,
      ...OPTIONS,
      ...args,
    ], {
      fault,
    });
  }

  /** Goes on with it. */
  resume(
    out: string,
    { fault, args = [] }: { fault?: Fault; args?: readonly string[] } = {},
  ): Running {
    return this.run("main.ts", ["--resume", out, ...args], { fault });
  }

  /** Goes on with it, or begins it where there is nothing to go on with. */
  goOn(out: string, options: { fault?: Fault } = {}): Running {
    return this.isBegun(out) ? this.resume(out, options) : this.begin(out, options);
  }

  /** Waits until a running program has written a file; fails if it ends before. */
  async waitFor(file: string, running: Running): Promise<void> {
    await this.waitUntil(running, () => isNewer(join(this.folder, file), running.begun));
  }

  /** Waits until a running program has written a checkpoint after so many batches of an epoch. */
  async waitForBatch(batch: number, { out, running }: { out: string; running: Running }) {
    const folder = join(this.folder, out, "lora_2", "checkpoint");
    await this.waitUntil(
      running,
      () =>
        exists(folder) &&
        filesBelow(folder).some((file) =>
          file.endsWith(".safetensors") && isNewer(file, running.begun) && batchOf(file) === batch
        ),
    );
  }

  /** Waits until something has come about by a running program; fails if that ends before. */
  async waitUntil({ outcome }: Running, done: () => boolean): Promise<void> {
    let ended: Outcome | undefined;
    outcome.then((found) => ended = found);
    while (!done()) {
      assert(ended === undefined, `it ended too early: ${ended?.stdout}${ended?.stderr}`);
      await pause(0.01);
    }
  }

  /** Runs a program of experiments/. */
  run(
    script: string,
    args: readonly string[],
    { fault, env = {} }: { fault?: Fault; env?: Record<string, string> } = {},
  ): Running {
    const begun = Date.now();
    const process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "-A",
        `--config=${join(root, "deno.json")}`,
        `--preload=${join(import.meta.dirname!, "fault.ts")}`,
        join(root, "experiments", script),
        ...args,
      ],
      cwd: this.folder,
      env: {
        NO_COLOR: "1",
        XDG_RUNTIME_DIR: this.folder, // without one Mesa's driver complains among the errors
        SAMLORA_CACHE: join(this.folder, "cache"),
        FAULT: JSON.stringify(fault ?? {}),
        ...env,
      },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const outcome = process.output().then(({ code, stdout, stderr }) => {
      const text = new TextDecoder();
      return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
    });
    return { process, begun, outcome };
  }

  /** Waits for a program that has to succeed. */
  async succeed(running: Running): Promise<Outcome> {
    const outcome = await running.outcome;
    assertEquals(outcome.code, 0, outcome.stdout + outcome.stderr);
    return outcome;
  }

  /**
   * Waits for a program that has to fail in one sentence, exit code 1 and no stack trace.
   *
   * @returns the sentence.
   */
  async fail(running: Running): Promise<string> {
    const { code, stdout, stderr } = await running.outcome;
    assertEquals(code, 1, stdout + stderr);
    const lines = stderr.trim().split("\n");
    assert(lines.length === 1 && lines[0].startsWith("error: "), stderr);
    return lines[0].replace(/^error: /, "").replaceAll(this.folder, "…");
  }

  /** True if a folder of results is there and holds something to go on with. */
  isBegun(out: string): boolean {
    return exists(join(this.folder, out, "resume.json"));
  }

  /** Begins a study anew, or goes on with what is there, and asserts that nothing was lost. */
  async complete(out: string): Promise<void> {
    const isWhole = exists(join(this.folder, out, "table.json"));
    await this.succeed(isWhole ? this.resume(out) : this.goOn(out));
    await this.assertWhole(out);
  }

  /** Asserts that a folder holds what the undisturbed study came to, and nothing else. */
  async assertWhole(out: string): Promise<void> {
    const results = await this.results(out);
    assertEquals([...results.keys()].sort(), [...this.whole.keys()].sort());
    for (const [name, content] of this.whole) {
      assertEquals(results.get(name), content, `${name} of ${out}`);
    }
    await Deno.remove(join(this.folder, out), { recursive: true });
  }

  /**
   * Every file of a folder of results as text or SHA-256, without wall times, dates, its own name and
   * the device memory that a life of the program held.
   */
  async results(out: string): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    const path = join(this.folder, out);
    for (const file of filesBelow(path)) {
      const bytes = await Deno.readFile(file);
      const name = relative(path, file);
      const isTimed = name.includes("tfevents"); // each event has its time
      const digest = isTimed
        ? ""
        : new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
      const strip = /\.(md|html)$/.test(name) ? stripPage : name === "manifest.json" // hashes are of wall times, too
        ? stripHashes
        : /\.jsonl?$/.test(name)
        ? stripJson
        : null;
      const text = () => new TextDecoder().decode(bytes).replaceAll(`--out ${basename(out)} `, "");
      found.set(name, strip ? strip(text()) : digest);
    }
    return found;
  }

  /** Removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

const OPTIONS = [
  "--side=64",
  "--epochs=2",
  "--batch-size=3",
  "--dropout=0.2",
  "--prompt=mixed",
  "--prompts-per-step=1",
  "--weight-decay=0.01",
  "--max-test=1",
  "--checkpoint-minutes=0",
];

/** A manifest without its hashes. */
function stripHashes(text: string): string {
  return text.replaceAll(/"[0-9a-f]{64}"/g, '""');
}

/** JSON without wall times, dates and device memory. */
function stripJson(text: string): string {
  return text.replaceAll(/\s*"peakGpuBytes": ?\d+,?/g, "").replaceAll(
    /"(seconds|secondsPerStep|trainSeconds|date|\w*[tT]ime\w*)": ?("[^"]*"|[\d.e+-]+)/g,
    '"$1":0',
  );
}

/**
 * A table or report without dates and without what follows a trained row's number of parameters:
 * seconds a step, seconds of training and device memory.
 */
function stripPage(text: string): string {
  const between = "(?:</td><td>| \\| )";
  return text
    .replaceAll(
      new RegExp(`(\\d{2},\\d{3}${between})[\\d.]+${between}[\\d.]+${between}\\d+\\b`, "g"),
      "$1",
    )
    .replaceAll(/\d{4}-\d\d-\d\d( \d\d:\d\d)?/g, "");
}

/** True if there is a file or folder of that path. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** True if a file is there and was written after a time. */
function isNewer(path: string, milliseconds: number): boolean {
  try {
    return Deno.statSync(path).mtime!.getTime() >= milliseconds;
  } catch {
    return false;
  }
}

/** The batches of its epoch that were done when a checkpoint was written. */
function batchOf(path: string): number | null {
  try {
    const bytes = Deno.readFileSync(path);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    return JSON.parse(header.__metadata__.position).batch;
  } catch {
    return null; // it was removed meanwhile
  }
}

/** Waits. */
export function pause(seconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, 1000 * seconds));
}

/** Paths of all files below a folder. */
export function filesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesBelow(join(folder, name)) : [join(folder, name)]
  );
}
