import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { testWaysToStop } from "./ways_to_stop.ts";

testWaysToStop(["Ctrl-C", "SIGTERM to ./run"]);

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
