import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { decode } from "fast-png";
import { join } from "node:path";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

Deno.test("an autopsy of a tiny data set names the guard of each fault and writes table and figure", async () => {
  const folder = await tinyDataset(6);
  try {
    const faults = ["no-grad", "raw-labels", "same-path", "foreign-adapter"];
    const args = ["--data", "data", "--side", "64", "--epochs", "1", "--max-train", "8"];
    const { code, stdout, stderr } = await runCommand([
      "autopsy",
      ...args,
      "--out",
      "autopsy",
      "--faults",
      faults.join(","),
    ], { cwd: folder });
    assertEquals(code, 0, stdout + stderr);
    const names = [...Deno.readDirSync(join(folder, "autopsy"))].map(({ name }) => name).sort();
    assertEquals(names, ["figure.png", "figure.svg", "masks.png", "table.json", "table.md"]);
    const read = (name: string) => Deno.readTextFile(join(folder, "autopsy", name));
    const { runs, environment } = JSON.parse(await read("table.json"));
    assertEquals(
      runs.map(({ caught: [first] }: { caught: { guard: string; step: number }[] }) =>
        first ? `${first.guard} ${first.step}` : null
      ),
      [null, "no-gradient 3", "target-not-binary 1", "patient-overlap 0", "foreign-adapter 4"],
    );
    assertMatch(runs[4].caught[0].message, /^other_task\b.* holds an adapter/);
    assert(!environment.command.includes(folder));
    const markdown = await read("table.md");
    assertStringIncludes(markdown, "| Forward pass under no-grad |");
    assertStringIncludes(await read("figure.svg"), "no-gradient, after step 3");
    assert(decode(await Deno.readFile(join(folder, "autopsy", "figure.png"))).width > 800);

    for (
      const [wrong, says] of [
        [["--faults", "no-such"], /there is no fault "no-such"/],
        [["--out", "autopsy"], /already holds results/],
        [["--crop", "16"], /--crop/],
      ] as const
    ) {
      const refused = await runCommand(["autopsy", ...args, ...wrong], { cwd: folder });
      assertEquals(refused.code, 1);
      assertMatch(refused.stderr, says);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
