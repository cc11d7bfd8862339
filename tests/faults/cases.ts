import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { Random } from "../../lib/random.ts";
import { tinyFile } from "../experiments/tiny_dataset.ts";
import type { Fault } from "./fault.ts";
import { exists, filesBelow, pause, type Running, type TinyStudy } from "./tiny_study.ts";

/** A fault, and that it ends as it should. */
export interface FaultCase {
  /** Name of the fault. */
  readonly name: string;
  /**
   * Makes it happen to a study in the folder `out`, begun or gone on with, and asserts that it ends in one
   * sentence and exit code 1, or as it should.
   *
   * @returns what the program said.
   */
  readonly run: (study: TinyStudy, out: string) => Promise<string>;
}

/**
 * Faults that come one after the other to the same study, which is then completed: what one of them cost
 * would show in what the study comes to.
 */
export interface FaultChain {
  /** Its folder. */
  readonly name: string;
  /** The faults, in order. */
  readonly cases: readonly FaultCase[];
}

/** Asserts that no file below a folder has a temporary name. */
function assertNoTemporaries(study: TinyStudy): void {
  assertEquals(filesBelow(study.folder).filter((path) => path.endsWith(".tmp")), []);
}

/**
 * Lets every fault of a chain happen, completes the study and asserts that it is the undisturbed one.
 *
 * @param told Gets what each fault came to, and the completion.
 */
export async function runChain(
  study: TinyStudy,
  { name, cases }: FaultChain,
  told: (name: string, run: () => Promise<string>) => Promise<unknown>,
): Promise<void> {
  for (const { name: what, run } of cases) {
    await told(what, async () => {
      const said = await run(study, name);
      assertNoTemporaries(study);
      return said;
    });
  }
  await told(`${name}: completed afterwards`, async () => {
    await study.complete(name);
    return "as the undisturbed study";
  });
}

/** A fault that a life of the program ends by, with a sentence that matches. */
function failing(name: string, fault: Fault, says: RegExp): FaultCase {
  return {
    name,
    run: async (study, out) => {
      const said = await study.fail(study.goOn(out, { fault }));
      assertMatch(said, says);
      return said;
    },
  };
}

/** The disk is full while one file is written, and has room again afterwards. */
function diskFull(file: string): FaultCase {
  const write = `${file.replaceAll(".", "[.]")}$`;
  return failing(
    `disk full while writing ${file}`,
    { write: `^[^/]*/${write}` },
    /cannot write .* \(No space left on device .*\): make room/,
  );
}

/** The disk is full while a case's slices are kept. */
const cacheFull: FaultCase = {
  name: "disk full while writing a slice file of the cache",
  run: async (study, out) => {
    const cache = join(study.folder, "cache", "slices");
    await Deno.rename(cache, cache + ".away");
    const said = await study.fail(study.goOn(out, { fault: { write: "[.]slices$" } }));
    assertMatch(said, /cannot write .* \(No space left on device.*SAMLORA_CACHE/);
    assert(!study.isBegun(out));
    await Deno.remove(cache, { recursive: true }).catch(() => {});
    await Deno.rename(cache + ".away", cache);
    return said;
  },
};

/** Runs a command of the system; whether it succeeded. */
async function system(command: string, ...args: string[]): Promise<boolean> {
  return (await new Deno.Command(command, { args, stderr: "null" }).output()).success;
}

const CANNOT_MOUNT = "not possible here: no file system may be mounted";

/** A file system that really is full, where one may be mounted; then it grows. */
function fileSystem(kilobytes: number): FaultCase {
  return {
    name: `a file system of ${kilobytes} kB`,
    run: async (study, out) => {
      const mount = join(study.folder, `${out}-${kilobytes}`);
      await Deno.mkdir(mount);
      if (!await system("mount", "-t", "tmpfs", "-o", `size=${kilobytes}k`, "none", mount)) {
        await Deno.remove(mount);
        return CANNOT_MOUNT;
      }
      try {
        const within = join(`${out}-${kilobytes}`, "study");
        const said = await study.fail(study.begin(within));
        assertMatch(said, /No space left on device/);
        assertNoTemporaries(study);
        await system("mount", "-o", "remount,size=50m", mount);
        await study.complete(within);
        return said;
      } finally {
        await system("umount", mount);
        await Deno.remove(mount);
      }
    },
  };
}

/** The output folder, mounted over itself, can only be read from then on. */
const readOnly: FaultCase = {
  name: "an output folder that becomes read-only",
  run: async (study, out) => {
    const running = study.goOn(out);
    await study.waitForBatch(2, { out, running });
    const folder = join(study.folder, out);
    if (!await system("mount", "--bind", folder, folder)) {
      running.process.kill("SIGKILL");
      await running.outcome;
      return CANNOT_MOUNT;
    }
    try {
      await system("mount", "-o", "remount,bind,ro", folder);
      const said = await study.fail(running);
      assertMatch(said, /cannot write .*Read-only file system.*--resume \S+ goes on/);
      return said;
    } finally {
      await system("umount", folder);
    }
  },
};

const vanished: FaultCase = {
  name: "an output folder that vanishes",
  run: async (study, out) => {
    const fault = { after: "000002.safetensors$", remove: [out] };
    const said = await study.fail(study.goOn(out, { fault }));
    assertMatch(said, /was removed or replaced while the study was writing to it/);
    assert(!exists(join(study.folder, out)), "nothing is made in its place");
    return said;
  },
};

/** Does something to a data file meanwhile, and brings it back as it was. */
async function withFile<T>(file: string, work: () => Promise<T>): Promise<T> {
  const kept = await Deno.readFile(file);
  const { mtime, atime } = await Deno.stat(file);
  try {
    return await work();
  } finally {
    await Deno.writeFile(file, kept);
    await Deno.utime(file, atime!, mtime!);
  }
}

const dataGone: FaultCase = {
  name: "a data file that disappears during training",
  run: async (study, out) => {
    const file = tinyFile(study.folder, 1, "t1c");
    return await withFile(file, async () => {
      const fault = { after: "safetensors$", remove: [file] };
      const running = study.goOn(out, { fault });
      // It goes on with the slices in its cache: its next checkpoint comes. Then it is stopped.
      await study.waitUntil(running, () => !exists(file));
      await study.waitFor(join(out, "lora_2", "checkpoint"), { ...running, begun: Date.now() });
      running.process.kill("SIGKILL");
      await running.outcome;
      const said = await study.fail(study.goOn(out));
      assertMatch(said, /case TINY-MEN-00001-000 .* has no t1c image/);
      return `goes on with the slices in its cache; the next life: ${said}`;
    });
  },
};

const dataAndCacheGone: FaultCase = {
  name: "a data file that changes during training, and its cache disappears",
  run: async (study, out) => {
    const append = tinyFile(study.folder, 1, "seg");
    return await withFile(append, async () => {
      const fault = {
        after: "00000[0-9].safetensors$",
        remove: [join(study.folder, "cache", "slices")],
        append,
      };
      const said = await study.fail(study.goOn(out, { fault }));
      assertMatch(said, /the files of case TINY-MEN-00001-000 changed .*--resume \S+ goes on/);
      return said;
    });
  },
};

/** The device is lost at a submit of a life of the program. */
function lostDevice(submit: number): FaultCase {
  return failing(
    `a device lost at submit ${submit}`,
    { lostAt: submit },
    /the GPU device was lost \(.*\)(: start the study again|; what is done is)/,
  );
}

/** A step is about sixty submits; those of each life of the program are counted anew. */
function randomSubmits(seed: string, count: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => 2 + random.int(110));
}

/** The device has memory for so many MiB. */
function littleMemory(mebibytes: number, use: string): FaultCase {
  return failing(
    `a GPU with memory for ${mebibytes} MiB`,
    { memory: mebibytes },
    new RegExp(
      `the GPU has no memory for a tensor \\[[\\d, ]+\\] \\(${use}.*\\), [\\d.]+ MiB, .* take a smaller batch \\(--batch-size\\) or side`,
    ),
  );
}

/** A gradient of a step is not a number: a guard ends the run, of which nothing looks like a result. */
const notANumber: FaultCase = {
  name: "NaN in a gradient",
  run: async (study, out) => {
    const said = await study.fail(study.begin(out, { fault: { gradient: 2 } }));
    assertMatch(said, /the gradient is not finite after step 2: lower the learning rate/);
    const [run] = JSON.parse(await Deno.readTextFile(join(study.folder, out, "runs.json")));
    assertEquals([run.guard.guard, run.summary], ["non-finite", undefined]);
    for (const left of ["adapters", "lora_2"]) {
      assert(!exists(join(study.folder, out, left)), left);
    }
    const table = await Deno.readTextFile(join(study.folder, out, "table.json"));
    assert(!table.includes('"LoRA-2 + decoder"'), table);
    await Deno.remove(join(study.folder, out), { recursive: true });
    return said;
  },
};

/** The program is killed when a file has its name, before the manifest lists it. */
function killedAfter(file: string): FaultCase {
  return {
    name: `killed when ${file} is in place`,
    run: async (study, out) => {
      const kill = { write: `${file}$`, nth: 1, at: "after its name" } as const;
      const { code } = await study.goOn(out, { fault: { kill } }).outcome;
      assertEquals(code, 128 + 9);
      return "killed";
    },
  };
}

/** Kills a program, which may leave a half-written file: whatever opens the study next removes it. */
async function killOutright(
  { process, outcome }: Running,
  { study, out }: { study: TinyStudy; out: string },
): Promise<void> {
  process.kill("SIGKILL");
  await outcome;
  assertMatch(await study.fail(study.resume(out, { args: ["--seed", "3"] })), /--seed 3/);
}

const twoProcesses: FaultCase = {
  name: "two processes on one output folder, of which the first is killed",
  run: async (study, out) => {
    const first = study.goOn(out);
    await study.waitFor(join(out, "lora_2", "run.json"), first);
    first.process.kill("SIGSTOP");
    const said = await study.fail(study.resume(out));
    assertMatch(said, /another process is writing to \S+: wait until it ends/);
    assertMatch(
      await study.fail(study.begin(out)),
      /holds results of a study that is not finished/,
    );
    await killOutright(first, { study, out });
    return said;
  },
};

const staleLease: FaultCase = {
  name: "a lease that a crash left, with the number of another process that lives",
  run: async (study, out) => {
    const folder = join(study.folder, out, "lease");
    const [newest] = [...Deno.readDirSync(folder)].map(({ name }) => name).sort().reverse();
    const holder = JSON.parse(await Deno.readTextFile(join(folder, newest)));
    const left = { ...holder, pid: Deno.pid, outcome: null };
    await Deno.writeTextFile(join(folder, "000099"), JSON.stringify(left));
    const running = study.goOn(out);
    await study.waitFor(join(out, "lora_2", "run.json"), running);
    await killOutright(running, { study, out });
    return "goes on: the lock is the system's and went with the process";
  },
};

const damaged: FaultCase = {
  name: "the newest checkpoint is damaged",
  run: async (study, out) => {
    const folder = join(study.folder, out, "lora_2", "checkpoint");
    const checkpoints = () =>
      exists(folder)
        ? filesBelow(folder).filter((path) => path.endsWith(".safetensors")).sort()
        : [];
    while (checkpoints().length < 2) {
      const kill = { write: "safetensors$", nth: 2, at: "after its name" } as const;
      await study.goOn(out, { fault: { kill } }).outcome;
    }
    const newest = checkpoints().at(-1)!;
    const bytes = await Deno.readFile(newest);
    bytes[bytes.length - 9] ^= 1;
    await Deno.writeFile(newest, bytes);
    const kill = { write: "safetensors$", nth: 1, at: "after its name" } as const;
    const { stdout } = await study.goOn(out, { fault: { kill } }).outcome;
    const [said] = /.* is damaged or of another version: the one before it is used/.exec(stdout) ??
      [""];
    assert(said !== "", stdout);
    return said;
  },
};

/**
 * A signal comes some time after a file, or the checkpoint after a batch of an epoch, is in place: the
 * program ends with the signal's exit code.
 */
function signalled(
  signal: "SIGINT" | "SIGTERM",
  { during, after, seconds = 0 }: { during: string; after: string | number; seconds?: number },
): FaultCase {
  return {
    name: `${signal} ${during}`,
    run: async (study, out) => {
      const running = study.goOn(out);
      if (typeof after === "number") await study.waitForBatch(after, { out, running });
      else await study.waitFor(join(out, after), running);
      await pause(seconds);
      const start = performance.now();
      running.process.kill(signal);
      const { code, stderr } = await running.outcome;
      const took = (performance.now() - start) / 1000;
      assertEquals(code, signal === "SIGINT" ? 130 : 143, stderr);
      const said = stderr.trim().split("\n").at(-1)!;
      assertEquals(
        said,
        `stopped by ${signal}; what is done is kept: ./run experiments --resume ${out} goes on`,
      );
      return `${said} (after ${took.toFixed(1)} s)`;
    },
  };
}

/** A third signal while kernels are compiled ends the program at once. */
const signalledThrice: FaultCase = {
  name: "three signals while kernels are compiled",
  run: async (study, out) => {
    const running = study.goOn(out);
    await study.waitFor(join(out, "lora_2", "run.json"), running);
    await pause(0.3);
    for (let press = 0; press < 3; press++) {
      try {
        running.process.kill("SIGINT");
      } catch {
        // It has ended.
      }
      await pause(0.4);
    }
    const { code } = await running.outcome;
    assertEquals(code, 130);
    return "ended";
  },
};

/** The disk hangs: a signal stops the program in time all the same, and a third one at once. */
function hanging(signals: 1 | 3): FaultCase {
  return {
    name: `${signals === 1 ? "a signal" : "three signals"} while the disk hangs`,
    run: async (study, out) => {
      const running = study.goOn(out, { fault: { hang: "safetensors$" } });
      const { pid } = running.process;
      // A checkpoint is written under a temporary name first.
      const folder = join(study.folder, out, "lora_2", "checkpoint");
      const isWriting = () =>
        exists(folder) &&
        [...Deno.readDirSync(folder)].some(({ name }) => name.includes(`.${pid}.`));
      while (!isWriting()) await pause(0.02);
      const start = performance.now();
      for (let i = 0; i < signals; i++) {
        running.process.kill("SIGTERM");
        await pause(0.4);
      }
      const { code, stderr } = await running.outcome;
      const took = (performance.now() - start) / 1000;
      assertEquals(code, 143, stderr);
      // At once means: by the system, without a last word of the program.
      assertEquals(/stopped by SIGTERM/.test(stderr), signals === 1, stderr);
      for (const path of filesBelow(folder)) if (path.endsWith(".tmp")) await Deno.remove(path);
      return `${stderr.trim().split("\n").at(-1)!} (after ${took.toFixed(1)} s)`;
    },
  };
}

const COMPILING = { during: "while kernels are compiled", after: "lora_2/run.json" };
const TRAINING = { during: "in training", after: 1 };
/** The tiny study has three batches an epoch. */
const VALIDATION = { during: "in validation", after: 3 };
const SCORING = { during: "in scoring", after: "adapters/lora_2/adapter_model.safetensors" };

/** A signal in the life of a study that has a checkpoint. */
export const ONE_FAULT: FaultChain = { name: "one", cases: [signalled("SIGTERM", VALIDATION)] };

/** A few of the faults, one of each sort. */
export const SOME_FAULTS: readonly FaultChain[] = [
  { name: "removed", cases: [cacheFull, diskFull("lora_2/run.json"), lostDevice(1), vanished] },
  {
    name: "kept",
    cases: [
      notANumber,
      signalled("SIGTERM", { ...COMPILING, seconds: 1 }),
      twoProcesses,
      staleLease,
      dataAndCacheGone,
      lostDevice(40),
      killedAfter("adapter_config.json"),
      signalled("SIGINT", SCORING),
      diskFull("table.json"),
    ],
  },
];

/** All of them, for a study that was seen to write certain files. */
export function allFaults({ written }: TinyStudy): FaultChain[] {
  // Checkpoints have numbers: the second stands for all after the first.
  const files = [...new Set(written.map(({ file }) => file))]
    .filter((file) => !/00000[13-9]/.test(file));
  return [
    { name: "full", cases: [cacheFull, ...files.map(diskFull)] },
    { name: "killed", cases: files.map(killedAfter) },
    { name: "mounted", cases: [40, 190, 200, 400].map(fileSystem) },
    {
      name: "removed",
      cases: [
        littleMemory(20, "weight image_encoder"),
        littleMemory(60, "kernel"),
        lostDevice(1),
        vanished,
        littleMemory(66, "kernel"),
      ],
    },
    { name: "changed", cases: [readOnly, dataAndCacheGone, dataGone] },
    { name: "broken", cases: [notANumber, damaged, twoProcesses, staleLease] },
    { name: "lost", cases: randomSubmits("lost", 10).map(lostDevice) },
    {
      name: "signalled",
      cases: [
        signalled("SIGTERM", { ...COMPILING, seconds: 0.5 }),
        signalled("SIGINT", { ...COMPILING, seconds: 2 }),
        signalledThrice,
        signalled("SIGTERM", TRAINING),
        signalled("SIGINT", { ...VALIDATION, seconds: 0.1 }),
        hanging(1),
        hanging(3),
        signalled("SIGTERM", { ...VALIDATION, during: "as validation begins" }),
        signalled("SIGTERM", { ...SCORING, seconds: 0.5 }),
        signalled("SIGINT", { ...SCORING, during: "later in scoring", seconds: 1.5 }),
      ],
    },
  ];
}
