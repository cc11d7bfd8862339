import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { Lease, readLease, SCHEDULER } from "../../lib/study/lease.ts";

/** Runs a test in a folder of its own. */
async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    Deno.env.delete(SCHEDULER.node);
    await Deno.remove(folder, { recursive: true });
  }
}

/** Goes on as a process of another machine. */
const goTo = (machine: string) => Deno.env.set(SCHEDULER.node, machine);

Deno.test("a folder has one holder, and the next after it has given it back", () =>
  inFolder(async (folder) => {
    const first = await Lease.take(folder);
    first.check();
    const { message } = await assertRejects(() => Lease.take(folder), InputError);
    assertMatch(message, /^another process is writing to .*process \d+ on/);
    first.end("failed", "no room");
    first[Symbol.dispose]();
    const found = await readLease(folder);
    assertEquals([found!.holder!.outcome, found!.holder!.message], ["failed", "no room"]);
    using second = await Lease.take(folder);
    second.check();
  }));

Deno.test("a process that exits on its way gives its folder back", () =>
  inFolder(async (folder) => {
    const code = `import { Lease } from ${
      JSON.stringify(import.meta.resolve("../../lib/study/lease.ts"))
    };
      await Lease.take(${JSON.stringify(folder)});
      Deno.exit(143);`;
    const { code: exit } = await runCode(code).output();
    assertEquals(exit, 143);
    assertEquals((await readLease(folder))!.holder!.outcome, "stopped");
  }));

/** A process that runs a module. */
function runCode(code: string): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "-q",
      `--config=${join(import.meta.dirname!, "..", "..", "deno.json")}`,
      `data:application/typescript,${encodeURIComponent(code)}`,
    ],
    stdout: "piped",
    stderr: "null",
  });
}

Deno.test("of processes that take a folder at once one has it", () =>
  inFolder(async (folder) => {
    const code = `import { Lease } from ${
      JSON.stringify(import.meta.resolve("../../lib/study/lease.ts"))
    };
      try { await Lease.take(${
      JSON.stringify(folder)
    }); console.log("taken"); await new Promise(() => {}); }
      catch (error) { console.log(error.name); }`;
    const processes = Array.from({ length: 4 }, () => runCode(code).spawn());
    const said = await Promise.all(processes.map(async ({ stdout }) => {
      for await (const text of stdout.pipeThrough(new TextDecoderStream())) return text.trim();
    }));
    assertEquals(said.sort(), ["InputError", "InputError", "InputError", "taken"]);
    processes.forEach((one) => {
      try {
        one.kill("SIGKILL");
      } catch {
        // It has ended.
      }
    });
    await Promise.all(processes.map(({ status }) => status));
    // The system tells that a process of this machine has ended: nothing is waited for.
    const start = performance.now();
    using lease = await Lease.take(folder);
    lease.check();
    assert(performance.now() - start < 20_000);
  }));

Deno.test("a holder on another machine is waited for, and succeeded once it is not heard of", () =>
  inFolder(async (folder) => {
    goTo("a");
    const first = await Lease.take(folder, { seconds: 30 });
    goTo("b");
    const { message } = await assertRejects(() => Lease.take(folder), InputError);
    assertMatch(message, /on a\b/);
    first.check();
    // Its machine hangs: the file that it touches is another one from now on.
    const path = join(folder, "lease", "000001");
    await Deno.remove(path);
    await Deno.writeTextFile(
      path,
      JSON.stringify({
        machine: "a",
        pid: 1,
        job: null,
        device: null,
        since: "",
        seconds: 2,
        outcome: null,
        message: null,
      }),
    );
    first[Symbol.dispose]();
    const start = performance.now();
    using second = await Lease.take(folder, { seconds: 2 });
    assert(performance.now() - start > 1500, "it was waited for");
    second.check();
    assertThrows(() => first.check(), InputError, "another process has taken over");
  }));

Deno.test("a folder that cannot be written to is refused in a sentence", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "lease"), "");
    const { message } = await assertRejects(() => Lease.take(folder), InputError);
    assertMatch(message, /^cannot write \S+lease \(.*\): .* choose a folder/);
  }));

Deno.test("nothing is written to a folder that was replaced", () =>
  inFolder(async (folder) => {
    using lease = await Lease.take(join(folder, "study"));
    await Deno.remove(join(folder, "study"), { recursive: true });
    assertThrows(() => lease.check(), InputError, "was removed or replaced");
    await Deno.mkdir(join(folder, "study", "lease"), { recursive: true });
    await Deno.writeTextFile(join(folder, "study", "lease", "000001"), "");
    assertThrows(() => lease.check(), InputError, "was removed or replaced");
  }));
