import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { tinyDataset } from "../experiments/tiny_dataset.ts";
import { HAS_TERMINALS, lastCheckpoint, Terminal } from "./terminal.ts";

const STUDY = "experiment lora_2 --data data --out study --side 64 --epochs 99 --batch-size 1 " +
  "--patience 99 --checkpoint-minutes 60";

Deno.test({
  name: "every way to stop `./run` saves what is trained and leaves no process behind",
  ignore: !HAS_TERMINALS,
  fn: async () => {
    const folder = await tinyDataset(3);
    const run = join(folder, "study", "lora_2");
    const ways: Record<string, (terminal: Terminal) => Promise<void> | void> = {
      "Ctrl-C": (terminal) => terminal.interrupt(),
      "SIGTERM to ./run": (terminal) => terminal.kill("SIGTERM"),
      "SIGHUP to ./run": (terminal) => terminal.kill("SIGHUP"),
      "SIGKILL to ./run": (terminal) => terminal.kill("SIGKILL"),
      "closing the terminal": (terminal) => terminal.close(),
    };
    try {
      for (const [name, stop] of Object.entries(ways)) {
        const begun = lastCheckpoint(run) > 0;
        const terminal = new Terminal(begun ? "experiments --resume study" : STUDY, {
          cwd: folder,
        });
        await terminal.waitFor(/epoch \d+\/99, .* loss/);
        const before = lastCheckpoint(run);
        await stop(terminal);
        const { code, left } = await terminal.end(60);
        const codes = { "Ctrl-C": 130, "SIGTERM to ./run": 143, "SIGHUP to ./run": 129 };
        assertEquals(code, codes[name as keyof typeof codes] ?? 137, terminal.shown);
        assertEquals(left, [], `${name} left processes`);
        assert(lastCheckpoint(run) > before, `${name}: no checkpoint\n${terminal.shown}`);
        if (code !== 137) assertMatch(terminal.shown, /saving, then ending\n.*stopped by SIG\w+; /);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

for (const busy of [false, true]) {
  Deno.test({
    name: "signals within 0.3 s are one; the second says what is lost, the third ends" +
      (busy ? ", while the main thread is busy too" : ""),
    ignore: Deno.build.os === "windows",
    fn: async () => {
      const child = new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--quiet",
          "--allow-read",
          join(import.meta.dirname!, "hanging.ts"),
          busy ? "busy" : "",
        ],
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const reader = child.stdout.getReader();
      await reader.read();
      const pause = (seconds: number) => new Promise((done) => setTimeout(done, 1000 * seconds));
      for (let press = 1; press <= 2; press++) {
        for (const wait of [0.05, 0.05, 0.5]) { // terminal, `deno task` and launcher send one each
          child.kill("SIGINT");
          await pause(wait);
        }
      }
      child.kill("SIGINT");
      await reader.cancel();
      const [{ signal }, stderr] = await Promise.all([
        child.status,
        new Response(child.stderr).text(),
      ]);
      assertEquals(signal, "SIGINT");
      assertMatch(
        stderr.trim(),
        /^SIGINT: saving, then ending\nStill saving. Once more ends at once, and loses what was done since \d\d:\d\d:\d\d$/,
      );
    },
  });
}
