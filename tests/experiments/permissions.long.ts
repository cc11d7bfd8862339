import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

Deno.test("commands need no more than their permissions, on any path", async () => {
  const folder = await tinyDataset(3);
  const data = Deno.build.os === "windows" ? "a, b" : 'a, "b"\n c';
  await Deno.rename(join(folder, "data"), join(folder, data));
  try {
    const small = ["--side", "64", "--data", data];
    const options = join(folder, "cache", "options, 1.yaml"); // what it names is granted, too
    await Deno.mkdir(join(folder, "cache"));
    await Deno.writeTextFile(options, "epochs: 1\nranks: [2]\nout: out\n");
    const study = ["experiments", ...small, "--config", options];
    const scan = join(data, "TINY-MEN-00001-000", "TINY-MEN-00001-000");
    const image = [`${scan}-t1c.nii.gz`, "--boxes-from", `${scan}-seg.nii.gz`];
    for (
      const args of [
        [...study, "--baselines", "vanilla", "--max-train", "2"],
        ["evaluate", "out/adapters/lora_2", ...small, "--max-test", "1"],
        ["evaluate", "out/adapters/lora_2", ...small, "--max-test", "1", "--out", "b, c.json"],
        ["predict", ...image, "--side", "64", "--out", "d, e"],
      ]
    ) {
      const { code, stderr } = await runCommand(args, { cwd: folder });
      assertEquals(code, 0, stderr);
    }
    assertMatch(await Deno.readTextFile(join(folder, "out", "table.md")), /LoRA-2/);
    assertEquals(
      [...Deno.readDirSync(folder)].map(({ name }) => name).sort(),
      [data, "b, c.json", "cache", "d, e", "out"],
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
