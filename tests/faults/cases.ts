import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { tinyFile } from "../experiments/tiny_dataset.ts";
import { filesBelow, type Outcome, type TinyStudy } from "./tiny_study.ts";

/** A fault, and that it ends as it should. */
export interface FaultCase {
  /** What happens. */
  readonly name: string;
  /**
   * Makes it happen to a tiny study, asserts that it ends in one sentence and exit code 1 (or goes
   * on), that nothing is half-written and that the study can be completed without a difference.
   *
   * @returns what the program said.
   */
  readonly run: (study: TinyStudy) => Promise<string>;
}

/** Kinds of file that a study writes, by the end of their paths. */
const FILES = [
  "resume.json",
  "config.json",
  "environment.json",
  "split.json",
  "000002.safetensors",
  "metrics.jsonl",
  "adapter_model.safetensors",
  "adapter_config.json",
  "scores.json",
  "cases.json",
  "masks.json",
  "summary.json",
  "finished.json",
  "loss_curves.svg",
  "masks.png",
  "statistics.json",
  "trivial.json",
  "table.json",
  "table.md",
  "report.md",
  "report.html",
];

/** The name of a case's folder of results. */
function folderOf(name: string): string {
  return name.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase();
}

/** Asserts that no file below a folder has a temporary name. */
function assertNoTemporaries(study: TinyStudy): void {
  assertEquals(filesBelow(study.folder).filter((path) => path.endsWith(".tmp")), []);
}

/** The disk is full while a file of one kind is written, and has room again afterwards. */
export function diskFull(file: string): FaultCase {
  const name = `disk full while writing ${file}`;
  return {
    name,
    run: async (study) => {
      const out = folderOf(name);
      const write = `${file.replaceAll(".", "\\.")}$`;
      const said = await study.fail(study.begin(out, { fault: { write } }));
      assertMatch(said, /cannot write .* \(No space left on device .*\): make room/);
      assertNoTemporaries(study);
      await study.complete(out);
      return said;
    },
  };
}

/** The disk is full while a case's slices are kept. */
const cacheFull: FaultCase = {
  name: "disk full while writing a slice file of the cache",
  run: async (study) => {
    const out = "cache-full";
    const cache = join(study.folder, "cache", "slices");
    await Deno.rename(cache, cache + ".away");
    const said = await study.fail(study.begin(out, { fault: { write: "\\.slices$" } }));
    assertMatch(said, /cannot write .* \(No space left on device/);
    assertNoTemporaries(study);
    assert(!await study.isBegun(out));
    await Deno.remove(cache, { recursive: true }).catch(() => {});
    await Deno.rename(cache + ".away", cache);
    await study.complete(out);
    return said;
  },
};

/** A file system that really is full, where one may be mounted; then it grows. */
const tmpfs: FaultCase = {
  name: "a file system of 200 kB",
  run: async (study) => {
    const out = "full";
    const mount = join(study.folder, out);
    await Deno.mkdir(mount);
    const system = async (...args: string[]) =>
      (await new Deno.Command(args[0], { args: args.slice(1), stderr: "null" }).output()).success;
    if (!await system("mount", "-t", "tmpfs", "-o", "size=200k", "none", mount)) {
      await Deno.remove(mount);
      return "not possible here: no file system may be mounted";
    }
    try {
      const within = join(out, "on-a-full-disk");
      const said = await study.fail(study.begin(within));
      assertMatch(said, /No space left on device/);
      await system("mount", "-o", "remount,size=50m", mount);
      await study.complete(within);
      return said;
    } finally {
      await system("umount", mount);
      await Deno.remove(mount);
    }
  },
};

const readOnly: FaultCase = {
  name: "an output folder that becomes read-only",
  run: async (study) => {
    const out = "read-only";
    const error = "Read-only file system (os error 30)";
    const fault = { write: `${out}/.*(000003|000004)`, error };
    const said = await study.fail(study.begin(out, { fault }));
    assertMatch(said, /cannot write .*Read-only file system.*--resume read-only goes on/);
    await study.complete(out);
    return said;
  },
};

const vanished: FaultCase = {
  name: "an output folder that vanishes",
  run: async (study) => {
    const out = "vanished";
    const fault = { after: "000002.safetensors$", remove: [out] };
    const said = await study.fail(study.begin(out, { fault }));
    assertMatch(said, /vanished was removed or replaced while the study was writing to it/);
    assert(!await study.isBegun(out), "nothing is made in its place");
    await study.complete(out);
    return said;
  },
};

const dataGone: FaultCase = {
  name: "a data file that disappears during training",
  run: async (study) => {
    const out = "data-gone";
    const file = tinyFile(study.folder, 1, "t1c");
    const kept = await Deno.readFile(file);
    const { mtime, atime } = await Deno.stat(file);
    const fault = { after: "000002.safetensors$", remove: [file] };
    await study.succeed(study.begin(out, { fault }));
    await study.assertWhole(out);
    await Deno.writeFile(file, kept);
    await Deno.utime(file, atime!, mtime!);
    return "goes on: its slices are in the cache";
  },
};

const dataAndCacheGone: FaultCase = {
  name: "a data file that changes during training, and its cache disappears",
  run: async (study) => {
    const out = "data-changed";
    const append = tinyFile(study.folder, 1, "seg");
    const kept = await Deno.readFile(append);
    const { mtime, atime } = await Deno.stat(append);
    const fault = {
      after: "000002.safetensors$",
      remove: [join(study.folder, "cache", "slices")],
      append,
    };
    const said = await study.fail(study.begin(out, { fault }));
    assertMatch(
      said,
      /the files of case TINY-MEN-00001-000 changed .*--resume data-changed goes on/,
    );
    await Deno.writeFile(append, kept);
    await Deno.utime(append, atime!, mtime!);
    await study.complete(out);
    return said;
  },
};

/** The device is lost at one of its submits. */
export function lostDevice(submit: number): FaultCase {
  const name = `a device lost at submit ${submit}`;
  return {
    name,
    run: async (study) => {
      const out = folderOf(name);
      const running = study.begin(out, { fault: { lostAt: submit } });
      const { code } = await running.outcome;
      if (code === 0) {
        await study.assertWhole(out);
        return "nothing: the study had fewer submits";
      }
      const said = await study.fail(running);
      assertMatch(
        said,
        /the GPU device was lost \(.*\)(: start the study again|; what is done is)/,
      );
      await study.complete(out);
      return said;
    },
  };
}

/** The device has memory for so many MiB. */
export function littleMemory(mebibytes: number): FaultCase {
  const name = `a GPU with memory for ${mebibytes} MiB`;
  return {
    name,
    run: async (study) => {
      const out = folderOf(name);
      const said = await study.fail(study.begin(out, { fault: { memory: mebibytes } }));
      assertMatch(
        said,
        /the GPU has no memory for a tensor \[[\d, ]+\], .* take a smaller batch \(--batch-size\) or side/,
      );
      await study.complete(out);
      return said;
    },
  };
}

const twoProcesses: FaultCase = {
  name: "two processes on one output folder, of which the first is killed",
  run: async (study) => {
    const out = "contested";
    const first = study.begin(out);
    while (!await study.isBegun(out)) await new Promise((done) => setTimeout(done, 20));
    first.process.kill("SIGSTOP");
    const said = await study.fail(study.resume(out));
    assertMatch(said, /another process is writing to contested/);
    assertMatch(
      await study.fail(study.begin(out)),
      /holds results of a study that is not finished/,
    );
    first.process.kill("SIGKILL");
    await first.outcome;
    await study.complete(out);
    return said;
  },
};

/** A signal comes after a step; its state is kept, and the exit code is the signal's. */
function signalled(signal: "SIGINT" | "SIGTERM", checkpoint: number): FaultCase {
  return {
    name: `${signal} after checkpoint ${checkpoint}`,
    run: async (study) => {
      const out = `${signal}-${checkpoint}`.toLowerCase();
      const after = `00000${checkpoint}.safetensors$`;
      const { code, stderr } = await study.begin(out, { fault: { after, signal } }).outcome;
      assertEquals(code, signal === "SIGINT" ? 130 : 143, stderr);
      const said = stderr.trim().split("\n").at(-1)!;
      assertEquals(
        said,
        `stopped by ${signal}; what is done is kept: ./run experiments --resume ${out} goes on`,
      );
      await study.complete(out);
      return said;
    },
  };
}

/** The disk hangs: a signal stops the program in time all the same, and a second one at once. */
function hanging(signals: number): FaultCase {
  return {
    name: `${signals === 1 ? "a signal" : "two signals"} while the disk hangs`,
    run: async (study) => {
      const out = `hanging-${signals}`;
      const fault = { hang: "000003.safetensors$" };
      const running = study.begin(out, { fault });
      const newest = join(study.folder, out, "lora_2", "checkpoint", "000002.safetensors");
      while (!await Deno.stat(newest).catch(() => null)) {
        await new Promise((done) => setTimeout(done, 20));
      }
      // Long enough for the next step to end and for its checkpoint to be begun.
      await new Promise((done) => setTimeout(done, 1500));
      for (let i = 0; i < signals; i++) {
        running.process.kill("SIGTERM");
        await new Promise((done) => setTimeout(done, 300));
      }
      const { code, stderr }: Outcome = await running.outcome;
      assertEquals(code, 143, stderr);
      // At once means: by the system, without a last word of the program.
      assertEquals(/stopped by SIGTERM/.test(stderr), signals === 1, stderr);
      await study.complete(out);
      return stderr.trim().split("\n").at(-1)!;
    },
  };
}

/** A few of the faults, one of each sort. */
export const SOME_FAULTS: readonly FaultCase[] = [
  diskFull("000002.safetensors"),
  diskFull("table.json"),
  vanished,
  dataAndCacheGone,
  lostDevice(1),
  lostDevice(60),
  littleMemory(60),
  twoProcesses,
  signalled("SIGTERM", 4),
  hanging(2),
];

/** All of them. */
export const ALL_FAULTS: readonly FaultCase[] = [
  ...FILES.map(diskFull),
  cacheFull,
  tmpfs,
  readOnly,
  vanished,
  dataGone,
  dataAndCacheGone,
  ...[1, 20, 45, 60, 100].map(lostDevice),
  ...[20, 60].map(littleMemory),
  twoProcesses,
  ...[1, 3, 5].flatMap((n) => [signalled("SIGINT", n), signalled("SIGTERM", n)]),
  hanging(1),
  hanging(2),
];
