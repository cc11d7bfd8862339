import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { tinyStudy } from "../report/tiny_study.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

Deno.test("the task writes both forms, with the permissions of its arguments, twice alike", async () => {
  const folder = await tinyStudy();
  const run = () => runCommand(["report", "."], { cwd: folder });
  const first = await run();
  assertEquals(first.code, 0, first.stderr);
  assertMatch(first.stdout, /^Report: .*report\.html/);
  const read = (file: string) => Deno.readTextFile(join(folder, file));
  const [html, text] = [await read("report.html"), await read("report.md")];
  assertStringIncludes(html, "LoRA-8");
  assertStringIncludes(text, "![");
  for (const [, path] of text.matchAll(/\]\((report\/[^)]+)\)/g)) {
    await Deno.stat(join(folder, path));
  }
  await Deno.writeTextFile(join(folder, "report", "left_over.svg"), "");
  assertEquals((await run()).code, 0);
  assertEquals([await read("report.html"), await read("report.md")], [html, text]);
  const files = [...Deno.readDirSync(join(folder, "report"))].map(({ name }) => name);
  assertEquals(files.includes("left_over.svg"), false);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("what cannot be reported on is said in one sentence", async () => {
  const folder = await tinyDataset(1);
  const study = await tinyStudy();
  await Deno.rename(study, join(folder, "study"));
  const cases: [string[], RegExp][] = [
    [[], /^error: report needs STUDY/],
    [["nowhere"], /^error: nowhere\/table\.json is missing: name the folder of a whole study/],
    [["study", "--dark"], /^error: there is no option --dark/],
    [["study", "--pictures", "nowhere"], /^error: .*nowhere/],
    [["study", "--pictures", "data"], /^error: .*study.*/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await runCommand(["report", ...args], { cwd: folder });
    assertEquals(code, 1, stderr);
    assertMatch(stderr, message);
    assertEquals(stderr.trim().split("\n").length, 1, stderr);
  }
  assertEquals(await Deno.stat(join(folder, "study", "report.html")).catch(() => null), null);
  await Deno.remove(folder, { recursive: true });
});
