// A study as tasks of several processes comes to what one process makes of it.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { exists, type Running, TinyStudy } from "../faults/tiny_study.ts";

/** Two rows in two seeds and two folds: eight tasks, of which those of seed 1 train what seed 0 chose. */
const OPTIONS = [
  "--data=data",
  "--side=64",
  "--epochs=1",
  "--batch-size=3",
  "--dropout=0.2",
  "--baselines=vanilla",
  "--ranks=2",
  "--encoder-ranks=none",
  "--seeds=0,1",
  "--folds=2",
  "--checkpoint-minutes=0",
];
const TASKS = 8;

/** Checkpoints amid a training. */
const CHECKPOINT = "checkpoint/\\d+\\.safetensors$";

/** Studies of these options. */
class Tasks {
  constructor(readonly study: TinyStudy) {}

  whole(out: string): Running {
    return this.study.run("main.ts", ["--out", out, ...OPTIONS]);
  }

  plan(out: string, ...more: string[]): Running {
    return this.study.run("plan.ts", ["--out", out, ...OPTIONS, "--untimed", ...more]);
  }

  task(out: string, number: number, options: Parameters<TinyStudy["run"]>[2] = {}): Running {
    return this.study.run("task.ts", [out, `${number}`], options);
  }

  gather(out: string): Running {
    return this.study.run("gather.ts", [out]);
  }
}

Deno.test("tasks of a study", async (t) => {
  await using study = await TinyStudy.empty();
  const tasks = new Tasks(study);
  await study.succeed(tasks.whole("whole"));
  const whole = await study.results("whole");

  await t.step("in any order and by several processes they come to the same bytes", async () => {
    await study.succeed(tasks.plan("parts"));
    const plan = JSON.parse(await Deno.readTextFile(join(study.folder, "parts", "tasks.json")));
    assertEquals(plan.length, TASKS);
    assertEquals(plan.at(-1), {
      task: 8,
      row: "lora_2",
      part: "seed_1-fold_2",
      seed: 1,
      split: 0,
      fold: 2,
      needs: 4,
      estimate: null,
    });
    assertMatch(await study.fail(tasks.task("parts", 8)), /task 8 trains what task 4 chooses/);
    assertMatch(await study.fail(tasks.task("parts", 9)), /has no task 9: name one from 1 to 8/);
    assertMatch(await study.fail(tasks.gather("parts")), /8 of 8 tasks are missing: 1-8/);
    await Promise.all([4, 3].map((n) => study.succeed(tasks.task("parts", n))));
    assertMatch(await study.fail(tasks.gather("parts")), /6 of 8 tasks are missing: 1-2,5-8/);
    const partial = await Deno.readTextFile(join(study.folder, "parts", "partial.md"));
    assertMatch(partial, /6 of 8 tasks are missing: 1-2,5-8/);
    for (const n of [8, 7, 2, 1, 5, 6]) await study.succeed(tasks.task("parts", n));
    const again = await study.succeed(tasks.task("parts", 6));
    assertMatch(again.stdout, /Task 6, .*: finished before/);
    await study.succeed(tasks.gather("parts"));
    assertEquals(await study.results("parts"), whole);
    const { stdout } = await study.succeed(tasks.gather("parts"));
    assertMatch(stdout, /nothing is left to do/);
  });

  await t.step("a folder that is taken is refused before anything is timed", async () => {
    const { code, stdout, stderr } = await study.run("plan.ts", ["--out", "parts", ...OPTIONS])
      .outcome;
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr, /parts already holds/);
  });

  await t.step("two that take the same task do not both write", async () => {
    await study.succeed(tasks.plan("twice", "--lease-seconds", "3"));
    const [a, b] = ["a", "b"].map((node) => ({ env: { SLURMD_NODENAME: node } }));
    const hold = join(study.folder, "hold");
    await Deno.writeTextFile(hold, "");
    const first = tasks.task("twice", 2, { ...a, fault: { after: CHECKPOINT, hold } });
    const folder = join("twice", "seed_0-fold_1", "lora_2");
    await study.waitUntil(
      first,
      () => exists(join(study.folder, folder, "checkpoint", "000001.safetensors")),
    );
    assertMatch(
      await study.fail(tasks.task("twice", 2, b)),
      /another process is writing to .* on a/,
    );
    // Its machine hangs for longer than its lease is good for.
    first.process.kill("SIGSTOP");
    await study.succeed(tasks.task("twice", 2, b));
    await Deno.remove(hold);
    const finished = await listing(join(study.folder, folder));
    first.process.kill("SIGCONT");
    assertMatch(await study.fail(first), /another process has taken over/);
    assertEquals(await listing(join(study.folder, folder)), finished);
    for (const n of [1, 3, 4, 5, 6, 7, 8]) await study.succeed(tasks.task("twice", n));
    await study.succeed(tasks.gather("twice"));
    assertEquals(await study.results("twice"), whole);
  });

  await t.step(
    "a task that is killed goes on, and a signal is answered by a checkpoint",
    async () => {
      await study.succeed(tasks.plan("killed"));
      const checkpoint = join(study.folder, "killed", "seed_0-fold_1", "lora_2", "checkpoint");
      const kill = { write: CHECKPOINT, nth: 1, at: "after its name" } as const;
      const killed = await tasks.task("killed", 2, { fault: { kill } }).outcome;
      assertEquals(killed.code, 137, killed.stderr);
      const stop = { after: CHECKPOINT, signal: "SIGTERM" } as const;
      const { code, stdout, stderr } = await tasks.task("killed", 2, { fault: stop }).outcome;
      assertEquals(code, 143, stderr);
      assertMatch(stdout, /going on after step [12], in epoch 1/);
      assertMatch(stderr, /\.\/run experiments task killed 2 goes on/);
      assert(exists(checkpoint));
      for (let n = 1; n <= TASKS; n++) await study.succeed(tasks.task("killed", n));
      await study.succeed(tasks.gather("killed"));
      assertEquals(await study.results("killed"), whole);
    },
  );

  await t.step("a local engine is cancelled from elsewhere, and goes on", async () => {
    await study.succeed(tasks.plan("local"));
    const submit = () => study.run("submit.ts", ["local", "--engine=local", "--workers=2"]);
    const running = submit();
    const lease = join(study.folder, "local", "seed_0-fold_1", "lora_2", "lease", "000001");
    await study.waitUntil(running, () => exists(lease));
    assertMatch(await study.fail(submit()), /another process is writing to local\/logs\//);
    // It was submitted to a Slurm that is not here, too.
    const jobs = [{ date: "", arrays: [{ job: "1", tasks: "1-8", offset: 0 }], gather: "2" }];
    await Deno.writeTextFile(join(study.folder, "local", "jobs.json"), JSON.stringify(jobs));
    const env = { PATH: study.folder };
    const { stdout, stderr: said } = await study.run("cancel.ts", ["local"], { env }).outcome;
    await Deno.remove(join(study.folder, "local", "jobs.json"));
    assertMatch(stdout, /Asked process \d+ to stop\.\n/);
    assertMatch(said, /there is no squeue here/);
    const { code, stderr } = await running.outcome;
    assertEquals(code, 143, stderr);
    assertMatch(stderr, /\.\/run experiments submit local --engine local goes on/);
    const status = await study.succeed(study.run("status.ts", ["local", "--json"]));
    const states = JSON.parse(status.stdout).tasks.map(({ state }: { state: string }) => state);
    assert(states.includes("waiting") && !states.includes("running"), states.join());
    await study.succeed(submit());
    assertEquals(withoutDrivers(await study.results("local")), withoutDrivers(whole));
  });
});

/** Files of a study but for drivers, which a launcher alone tells in full. */
function withoutDrivers(files: ReadonlyMap<string, string>): Map<string, string> {
  return new Map(
    [...files].map(([name, text]) => [name, text.replaceAll(/"driver":"[^"]*"/g, "")]),
  );
}

/** Files of a folder with their times. */
async function listing(folder: string): Promise<unknown> {
  const found = [];
  for (const { name, isFile } of Deno.readDirSync(folder)) {
    if (isFile) found.push([name, (await Deno.stat(join(folder, name))).mtime?.getTime()]);
  }
  return found.sort();
}
