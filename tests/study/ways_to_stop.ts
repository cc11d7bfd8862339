import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { tinyDataset } from "../experiments/tiny_dataset.ts";
import { HAS_TERMINALS, lastCheckpoint, Terminal } from "./terminal.ts";

const STUDY = "experiment lora_2 --data data --out study --side 64 --epochs 99 --batch-size 1 " +
  "--patience 99 --checkpoint-minutes 60";

/** A way to stop `./run` in a terminal, and the exit code that it ends with. */
interface Way {
  readonly stop: (terminal: Terminal) => Promise<void> | void;
  readonly code: number;
}

const WAYS = {
  "Ctrl-C": { stop: (terminal) => terminal.interrupt(), code: 130 },
  "SIGTERM to ./run": { stop: (terminal) => terminal.kill("SIGTERM"), code: 143 },
  "SIGHUP to ./run": { stop: (terminal) => terminal.kill("SIGHUP"), code: 129 },
  "SIGKILL to ./run": { stop: (terminal) => terminal.kill("SIGKILL"), code: 137 },
  "closing the terminal": { stop: (terminal) => terminal.close(), code: 137 },
} satisfies Record<string, Way>;

/** Registers a test that stops one study in each of these ways, and lets it go on in between. */
export function testWaysToStop(names: readonly (keyof typeof WAYS)[]): void {
  Deno.test({
    name: `${names.join(", ")}: what is trained is saved, and no process left behind`,
    ignore: !HAS_TERMINALS,
    fn: async () => {
      const folder = await tinyDataset(3);
      const run = join(folder, "study", "lora_2");
      try {
        for (const name of names) {
          const way: Way = WAYS[name];
          const begun = lastCheckpoint(run) > 0;
          const terminal = new Terminal(begun ? "experiments --resume study" : STUDY, {
            cwd: folder,
          });
          await terminal.waitFor(/epoch \d+\/99, .* loss/);
          const before = lastCheckpoint(run);
          await way.stop(terminal);
          const { code, left } = await terminal.end(60);
          assertEquals(code, way.code, terminal.shown);
          assertEquals(left, [], `${name} left processes`);
          assert(lastCheckpoint(run) > before, `${name}: no checkpoint\n${terminal.shown}`);
          if (code !== 137) {
            assertMatch(terminal.shown, /saving, then ending\n(.*\n)?.*stopped by SIG\w+; /);
          }
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
