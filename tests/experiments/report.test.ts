import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { LEASES } from "../../lib/study/lease.ts";
import { changeRuns, tinyStudy } from "../report/tiny_study.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

Deno.test("the task writes both forms, with the permissions of its arguments, twice alike", async () => {
  const folder = await tinyStudy();
  const run = () => runCommand(["report", "."], { cwd: folder });
  const first = await run();
  assertEquals(first.code, 0, first.stderr);
  assertMatch(first.stdout, /has no manifest\.json[^]*Report: .*report\.html/);
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

/** Text that would name a terminal's window, clear it, and turn the direction of what follows. */
const HOSTILE = "\x1b]0;owned\x07\x1b[2J\0\u009b\u202e\r";

/** Control characters but for line breaks, and those that turn the direction of text. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

Deno.test("no control character of a study's files reaches the terminal or a page", async () => {
  const folder = await tinyStudy({ models: { vanilla: "Vanilla", lora_4: `LoRA${HOSTILE}` } });
  const hostile = <T>(value: T): T => {
    if (typeof value === "string") return value + HOSTILE as T;
    if (Array.isArray(value)) return value.map(hostile) as T;
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map((
        [name, inner],
      ) => [name, name === "type" ? inner : hostile(inner)]),
    ) as T;
  };
  await changeRuns(folder, (run) => ({
    ...run,
    environment: hostile(run.environment),
    split: hostile(run.split),
    config: { ...run.config, targets: [HOSTILE], [HOSTILE]: HOSTILE },
  }));
  const path = join(folder, "table.json");
  const table = JSON.parse(await Deno.readTextFile(path));
  const { dataset, baseModel, adapter, command } = table.context;
  Object.assign(table.context, hostile({ dataset, baseModel, adapter, command, notes: ["a"] }));
  await Deno.writeTextFile(path, JSON.stringify(table));
  const notes = { notes: ["a note"], references: [{ name: "them", dice: 0.5, source: "there" }] };
  await Deno.writeTextFile(join(folder, "notes.json"), JSON.stringify(hostile(notes)));
  const { code, stdout, stderr } = await runCommand(["report", "."], { cwd: folder });
  assertEquals(code, 0, stderr);
  assert(!CONTROLS.test(stdout + stderr));
  const pages = ["report.html", "report.md", "table.md"];
  for (const { name } of Deno.readDirSync(join(folder, "report"))) pages.push(join("report", name));
  assert(pages.some((name) => name.endsWith(".svg")));
  for (const name of pages) {
    const text = await Deno.readTextFile(join(folder, name));
    assert(!CONTROLS.test(text), name);
  }
  assertStringIncludes(
    await Deno.readTextFile(join(folder, "report.html")),
    "a note\ufffd]0;owned",
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test({
  name: "a pipe in the place of a study's file is refused, and not waited for",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    for (const file of ["notes.json", "runs.json", "table.json", "records.json.gz"]) {
      const folder = await tinyStudy();
      await Deno.remove(join(folder, file)).catch(() => {});
      await new Deno.Command("mkfifo", { args: [join(folder, file)] }).output();
      const { code, stderr } = await runCommand(["report", "."], { cwd: folder });
      assertEquals([code, stderr.trim().split("\n").length], [1, 1], stderr);
      assertStringIncludes(stderr, file);
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("a study that was killed as it ended is cleared by its own command, which removes nothing else", async () => {
  const folder = await Deno.makeTempDir();
  const study = join(folder, "study");
  try {
    await Deno.rename(await tinyStudy({ parts: ["seed_0-fold_1", "seed_0-fold_2"] }), study);
    const args = ["experiments", "--data", "data", "--folds", "2", "--out", "study"];
    const path = join(study, "table.json");
    const table = JSON.parse(await Deno.readTextFile(path));
    table.context.command = ["./run", ...args].join(" ");
    await Deno.writeTextFile(path, JSON.stringify(table));
    const whole = [...Deno.readDirSync(study)].map(({ name }) => name).sort();
    // Killed twice: as tasks were being removed, and before the lease was.
    await Deno.mkdir(join(study, LEASES));
    const elsewhere = {
      machine: "another",
      pid: 1,
      job: null,
      device: null,
      since: "",
      seconds: 1,
    };
    const holder = { ...elsewhere, outcome: null, message: null };
    await Deno.writeTextFile(join(study, LEASES, "000001"), JSON.stringify(holder));
    await Deno.mkdir(join(study, "seed_0-fold_2", "lora_4"), { recursive: true });
    const names = () => [...Deno.readDirSync(study)].map(({ name }) => name).sort();
    const again = await runCommand(args, { cwd: folder });
    assertEquals([again.code, names()], [0, whole], again.stderr);
    assertMatch(again.stdout, /study is whole: nothing is left to do/);
    // A part is a name of ours, no path to what else lies there.
    await Deno.mkdir(join(folder, "precious"));
    await changeRuns(study, (run) => ({ ...run, part: "../precious" }));
    const forged = await runCommand(["experiments", "--resume", "study"], { cwd: folder });
    assertEquals(forged.code, 1, forged.stdout);
    assertMatch(forged.stderr, /^error: study\/runs\.json is damaged \(0\.part: .*\n$/);
    assert((await Deno.stat(join(folder, "precious"))).isDirectory);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
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
