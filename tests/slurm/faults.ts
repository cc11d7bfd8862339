// deno task test:slurm: a tiny study as jobs of a real Slurm, to which everything happens that happens on a
// cluster. Each fault hits a task that a file holds amid its training, so that nothing depends on speed.
// Skipped, in words, where Slurm is not installed.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { readLease } from "../../lib/study/lease.ts";
import { readPlan } from "../../lib/study/plan.ts";
import { readStatus, type TaskStatus } from "../../lib/study/status.ts";
import { exists, type Outcome, TinyStudy } from "../faults/tiny_study.ts";
import { Cluster, missingPrograms, until } from "./cluster.ts";
import { HeldPackage } from "./held_package.ts";

/** Two rows in two seeds and three folds: twelve tasks, of which those of seed 1 wait for seed 0. */
const OPTIONS = [
  "--data=data",
  "--side=64",
  "--epochs=2",
  "--batch-size=2",
  "--dropout=0.2",
  "--baselines=vanilla",
  "--ranks=2",
  "--encoder-ranks=none",
  "--save-modules=none",
  "--seeds=0,1",
  "--folds=3",
  "--checkpoint-minutes=0",
];

/** Options that say where it is computed. */
const ENGINE = ["--engine=slurm", "--at-once=2", "--sbatch=--nice=1"];

/** Bytes of the file system that the study is on. */
const DISK = 24 * 2 ** 20;

/** The study's folder, named as a pattern of Slurm's file names. */
const NAME = "50%a";

/** A study on the cluster. */
class ClusterStudy {
  /** Its folder within the working directory. */
  readonly out = join("disk", NAME);

  constructor(
    readonly study: TinyStudy,
    readonly cluster: Cluster,
    readonly held: HeldPackage,
  ) {}

  get path(): string {
    return join(this.study.folder, this.out);
  }

  /** Runs a command of `./run`. */
  async run(...args: string[]): Promise<Outcome> {
    const { folder } = this.study;
    const env = {
      NO_COLOR: "1",
      SAMLORA_CACHE: join(folder, "cache"),
      XDG_RUNTIME_DIR: folder,
      ...this.cluster.env,
    };
    const { code, stdout, stderr } = await this.held.command(args, { cwd: folder, env }).output();
    const text = new TextDecoder();
    return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  }

  async succeed(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    assertEquals(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  }

  async status(): Promise<TaskStatus[]> {
    return await readStatus(this.path, (await readPlan(this.path))!);
  }

  async task(number: number): Promise<TaskStatus> {
    return (await this.status())[number - 1];
  }

  /** Numbers of the tasks that are not finished, with their states. */
  async left(): Promise<(readonly [number, string])[]> {
    return (await this.status()).filter(({ state }) => state !== "finished")
      .map(({ task, state }) => [task, state] as const);
  }

  /** Has tasks stop amid their trainings, until they are released. */
  async hold(...numbers: number[]): Promise<void> {
    await Deno.mkdir(join(this.path, "logs"), { recursive: true });
    for (const number of numbers) await Deno.writeTextFile(this.#file("hold", number), "");
  }

  async release(...numbers: number[]): Promise<void> {
    for (const number of numbers) await Deno.remove(this.#file("hold", number));
  }

  #file(name: "hold" | "held", number: number): string {
    return join(this.path, "logs", `${name}_${number}`);
  }

  /** Waits until a task is held amid its training. */
  async heldAt(number: number): Promise<TaskStatus & { readonly job: string }> {
    await until(`task ${number} in training`, () => exists(this.#file("held", number)));
    const task = await this.task(number);
    assertEquals(task.state, "running");
    return { ...task, job: task.job! };
  }

  async untilState(number: number, state: TaskStatus["state"]): Promise<TaskStatus> {
    await until(`task ${number} ${state}`, async () => (await this.task(number)).state === state);
    return await this.task(number);
  }

  async untilNoJob(): Promise<void> {
    await until("an empty queue", async () => (await this.cluster.queue()).length === 0);
  }

  /** Number of processes that have held a task. */
  async holders(number: number): Promise<number> {
    const { part, row } = await this.task(number);
    return (await readLease(join(this.path, part, row)))!.number;
  }

  /** Lines that the jobs of a task have printed. */
  async logsOf(number: number): Promise<string> {
    const logs = join(this.path, "logs");
    const names = [...Deno.readDirSync(logs)].map(({ name }) => name)
      .filter((name) => name.endsWith(`_${number}.log`));
    return (await Promise.all(names.map((name) => Deno.readTextFile(join(logs, name))))).join("");
  }
}

const missing = missingPrograms();

Deno.test({
  name: `a study on Slurm${missing.length > 0 ? ` (not installed: ${missing.join(", ")})` : ""}`,
  ignore: missing.length > 0,
  fn: async (t) => {
    await using study = await TinyStudy.empty();
    await using held = await HeldPackage.make();
    const disk = join(study.folder, "disk");
    await Deno.mkdir(disk);
    const isMounted = await system("mount", "-t", "tmpfs", "-o", `size=${DISK}`, "none", disk);
    try {
      await using cluster = await Cluster.start();
      await onCluster(new ClusterStudy(study, cluster, held), t, isMounted);
    } finally {
      if (isMounted) await system("umount", "-l", disk);
    }
  },
});

async function onCluster(
  own: ClusterStudy,
  t: Deno.TestContext,
  isMounted: boolean,
): Promise<void> {
  const { study, cluster, out } = own;
  const step = async (name: string, fn: () => Promise<void>, ignore = false) => {
    if (!await t.step({ name, fn, ignore }) && !ignore) throw new Error(`it ends with: ${name}`);
  };
  const submit = (...args: string[]) =>
    own.succeed("experiments", "submit", out, ...ENGINE, ...args);
  const shown = async () => JSON.parse(await own.succeed("experiments", "status", out, "--json"));
  const whole = join("whole", NAME);
  let undisturbed: Promise<string>;

  await step(
    "is submitted as a job of what tasks share, two arrays and a job that gathers",
    async () => {
      await own.succeed(
        ...["experiments", "plan", "--out", out, ...OPTIONS, "--untimed", "--lease-seconds=4"],
      );
      await own.hold(2, 4, 6, 8, 10);
      // Vanilla, of odd numbers, trains nothing that another has chosen.
      assertMatch(
        await submit(),
        /Submitted job \d+: what .*\n.*: tasks 1-7,9,11\n.*: tasks 8,10,12\n.*, which gathers/,
      );
      const { tasks, prefix } = await shown();
      assertEquals(tasks.length, 12);
      assert(prefix.queued || prefix.state !== "waiting", JSON.stringify(prefix));
      // Slurm gives no reason before its scheduler has seen a job.
      await until("what waits for others", async () => {
        const { tasks, gather } = await shown();
        const queued = [tasks[7], tasks[9], tasks[11]].map(({ queued }) => queued).concat(gather);
        return queued.length === 4 &&
          queued.every((job) => job?.state === "PENDING" && job.reason === "Dependency");
      }, 20);
      const refused = await own.run("experiments", "submit", out, "--engine=slurm");
      assertMatch(refused.stderr, /no task of \S+ is left to submit: \d+ jobs wait or run/);
    },
  );

  await step("a task is requeued amid an epoch", async () => {
    const { job, epoch } = await own.heldAt(2);
    assertEquals(epoch, 0);
    await cluster.succeed("scontrol", "requeue", job);
    await own.release(2);
  });

  await step("a task is warned of its time limit", async () => {
    const { job } = await own.heldAt(4);
    // It repeats itself until the job has gone, and that is about to come again.
    const warning = cluster.begin("scancel", "--batch", "--signal=USR1", job);
    await until("its answer", async () => /SIGTERM: saving/.test(await own.logsOf(4)));
    warning.kill("SIGKILL");
    await warning.status;
    await own.release(4);
  });

  await step("a node goes down and comes back", async () => {
    const { machine } = await own.heldAt(6);
    await cluster.succeed("scontrol", "update", `nodename=${machine}`, "state=down", "reason=test");
    await own.release(6);
    await until("its end there", async () => (await own.task(6)).state !== "running");
    await cluster.succeed("scontrol", "update", `nodename=${machine}`, "state=resume");
  });

  await step("the controller is restarted while two tasks are in training", async () => {
    await own.heldAt(8);
    await own.heldAt(10);
    // The cluster computes nothing meanwhile.
    await Deno.mkdir(join(study.folder, "whole"));
    undisturbed = own.succeed("experiments", "--out", whole, ...OPTIONS);
    await cluster.end("slurmctld");
    await cluster.startController();
    const { tasks } = await shown();
    assertEquals([tasks[7], tasks[9], tasks[11]].map(({ queued }) => queued?.state), [
      "RUNNING",
      "RUNNING",
      "PENDING",
    ]);
    for (const number of [2, 4, 6]) {
      const task = await own.task(number);
      assertEquals([task.state, task.epoch], ["finished", task.epochs], JSON.stringify(task));
      assert(await own.holders(number) >= 2, `task ${number} went on`);
      assertMatch(await own.logsOf(number), /going on after step [12], in epoch 1/);
    }
  });

  await step("is cancelled: what runs saves, what waits is not begun", async () => {
    const cancelled = own.succeed("experiments", "cancel", out);
    assertMatch(await cancelled, /Cancelled: jobs \d+.*\nTasks that run save first; .* goes on/);
    await own.release(8, 10);
    await own.untilNoJob();
    assertEquals(await own.left(), [[8, "stopped"], [10, "stopped"], [12, "waiting"]]);
    assertMatch(await own.succeed("experiments", "cancel", out), /Nothing waits or runs/);
  });

  await step("what was begun and not finished is submitted by itself", async () => {
    await own.hold(8, 10);
    assertMatch(
      await submit("--failed"),
      /^Submitted job \d+: tasks 8,10\nSubmitted job \d+, which/,
    );
    await own.heldAt(8);
    await own.heldAt(10);
  });

  await step("the disk is full, and has room again", async () => {
    const filler = join(study.folder, "disk", "filler");
    await fill(filler);
    await own.release(10);
    const { message } = await own.untilState(10, "failed");
    assertMatch(message!, /cannot write .*No space left on device.* task \S+ \d+ goes on/);
    await Deno.remove(filler);
  }, !isMounted);

  await step("a task is killed", async () => {
    if (!isMounted) await own.release(10);
    const { part, row } = await own.task(8);
    const { holder } = (await readLease(join(own.path, part, row)))!;
    Deno.kill(holder!.pid, "SIGKILL");
    await own.untilState(8, "lost");
    await own.release(8);
    await own.untilNoJob();
    assertEquals(await own.left(), [
      [8, "lost"],
      ...isMounted ? [[10, "failed"] as const] : [],
      [12, "waiting"],
    ]);
    assert(exists(join(own.path, "partial.md")), "the table of the others");
    assertMatch(await own.succeed("experiments", "status", out), /\nQueue: nothing waits or runs/);
  });

  await step("the gathered table is that of the undisturbed study", async () => {
    assertMatch(await submit(), isMounted ? /: tasks 8,10,12\n/ : /: tasks 8,12\n/);
    await own.untilNoJob();
    const logs = exists(join(own.path, "logs")) ? await logsOf(own.path) : "";
    assert(!exists(join(own.path, "resume.json")), `it is gathered: ${logs}`);
    await undisturbed;
    assertEquals(await study.results(out), await study.results(whole));
    assertMatch(await own.succeed("verify", out), /files of \S+ are as the study left them/);
  });
}

/** Last lines of what the jobs have printed. */
async function logsOf(path: string): Promise<string> {
  const texts = [];
  for (const { name } of Deno.readDirSync(join(path, "logs"))) {
    const text = await Deno.readTextFile(join(path, "logs", name));
    texts.push(`${name}: ${text.split("\n").slice(-4).join("\n")}`);
  }
  return texts.join("\n");
}

/** Writes a file until its disk is full. */
async function fill(path: string): Promise<void> {
  using file = await Deno.open(path, { create: true, write: true });
  for (let bytes = 2 ** 20; bytes >= 1; bytes >>= 1) {
    try {
      for (;;) await file.write(new Uint8Array(bytes));
    } catch {
      // Less may still have room.
    }
  }
}

/** Runs a command of the system; true if it succeeded. */
async function system(command: string, ...args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args, stderr: "null" }).output()).success;
  } catch {
    return false;
  }
}
