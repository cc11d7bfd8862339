import { gunzipSync, gzipSync } from "node:zlib";
// A file that was changed after a study had written it is believed by no command that reads it.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Manifest } from "../../lib/study/manifest.ts";
import { fixtures } from "../adapters/tiny_model.ts";
import { runCommand } from "../experiments/command_line.ts";
import { changeBytes } from "../faults/changed_bytes.ts";
import { tinyStudy } from "../report/tiny_study.ts";

/** Runs commands on a tiny study, and reads its files. */
async function withStudy(
  work: (tools: {
    folder: string;
    run: (line: string) => ReturnType<typeof runCommand>;
    read: (file: string) => Promise<string>;
  }) => Promise<void>,
): Promise<void> {
  const folder = await tinyStudy();
  try {
    await work({
      folder,
      run: (line) => runCommand(line.split(" "), { cwd: folder }),
      read: (file) => Deno.readTextFile(join(folder, file)),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a Dice changed in table.json is refused by name, or taken and told in table and report", () =>
  withStudy(async ({ folder, run, read }) => {
    const older = await run("verify .");
    assertEquals(older.code, 1);
    assertMatch(older.stderr, /has no manifest\.json.*--accept-changes/);
    assertEquals((await run("verify . --accept-changes")).code, 0);
    const sound = await run("verify .");
    assertEquals(sound.code, 0, sound.stderr);
    assertMatch(sound.stdout, /sound +records\.json\.gz/);

    const text = await read("table.json");
    const changed = text.replace(/("mean":0\.\d*?)\d([,}])/, (_, head, tail) => `${head}0${tail}`);
    assert(changed !== text);
    await Deno.writeTextFile(join(folder, "table.json"), changed);
    for (const line of ["report .", "verify .", "experiments --resume ."]) {
      const { code, stderr } = await run(line);
      assertEquals(code, 1, line);
      assertMatch(stderr, /table\.json was changed after the study had written it: put it back/);
    }
    assertEquals((await run("verify . --accept-changes")).code, 0);
    assertMatch(await read("table.md"), /table\.json was changed .* taken knowingly on \d{4}-/);
    const report = await run("report .");
    assertEquals(report.code, 0, report.stderr);
    assertStringIncludes(await read("report.md"), "taken knowingly on");
    assertEquals((await run("verify .")).code, 0);
  }));

Deno.test("what cannot be read is not taken, and nothing is changed by the attempt", () =>
  withStudy(async ({ folder, run, read }) => {
    assertEquals((await run("verify . --accept-changes")).code, 0);
    const manifest = await read("manifest.json");
    const path = join(folder, "records.json.gz");
    const records = await Deno.readFile(path);
    const text = new TextDecoder().decode(gunzipSync(records));
    const impossible = text.replace(/("dice":\s*\[)[\d.]+/, "$1375");
    assert(impossible !== text);
    for (const content of [new TextEncoder().encode("garbage"), gzipSync(impossible)]) {
      await Deno.writeFile(path, content);
      const { code, stderr } = await run("verify . --accept-changes");
      assertEquals(code, 1);
      assertMatch(stderr, /^error: .*records\.json\.gz/);
      assertEquals(await read("manifest.json"), manifest);
      assertEquals((await run("verify .")).code, 1);
    }
  }));

Deno.test("of changed bytes in every file of a study none is believed", () =>
  withStudy(async ({ folder }) => {
    for (const file of ["adapter_model.safetensors", "adapter_config.json"]) {
      const path = join("adapters", "lora_4", file);
      await Deno.mkdir(join(folder, "adapters", "lora_4"), { recursive: true });
      await Deno.copyFile(join(fixtures, "default", file), join(folder, path));
    }
    await (await Manifest.open(folder)).accept();
    const { refused, harmless, files } = await changeBytes(folder, { changes: 48, seed: 1 });
    assertEquals(refused + harmless, 48);
    assertEquals(Object.keys(files).length, 6);
    // A space of the manifest's own JSON alone means nothing.
    assert(refused >= 40, `${refused} refused`);
  }));

Deno.test("a crash amid the replacement of a file leaves a study that is believed", async () => {
  const folder = await Deno.makeTempDir();
  const manifest = await Manifest.create(folder);
  await manifest.write("table.json", "1");
  await manifest.write("lora_2/run.json", "2");
  const before = await Deno.readTextFile(join(folder, "manifest.json"));
  // The file cannot be replaced: a folder stands in its way.
  await Deno.remove(join(folder, "table.json"));
  await Deno.mkdir(join(folder, "table.json"));
  assert(await manifest.write("table.json", "3").then(() => false, () => true));
  await Deno.remove(join(folder, "table.json"));
  assert(before !== await Deno.readTextFile(join(folder, "manifest.json")));
  for (const content of ["1", "3"]) {
    await Deno.writeTextFile(join(folder, "table.json"), content);
    await (await Manifest.open(folder)).require();
  }
  await Deno.writeTextFile(join(folder, "table.json"), "2");
  assertEquals((await (await Manifest.open(folder)).changes()).map(({ path }) => path), [
    "table.json",
  ]);
  await Deno.remove(folder, { recursive: true });
});
