import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { runCommand } from "./command_line.ts";
import { inTemporaryFolder, writeCase } from "../data/temporary.ts";

Deno.test("inspect says what a data set holds, as text and as JSON, on any path", () =>
  inTemporaryFolder(async (root) => {
    const data = join(root, "comma, and space");
    await writeCase(data, { id: "S-1-000" });
    await writeCase(data, { id: "S-1-001" });
    await Deno.mkdir(join(data, "odd\nfolder"));
    await Deno.writeTextFile(join(root, "who.csv"), "S-1-000,a\nS-1-001,b\n");
    const text = await runCommand(["inspect", data], { cwd: root });
    assertEquals(text.code, 0, text.stderr);
    assertMatch(text.stdout, /^comma, and space: BraTS layout, t1c; 1 patient in 2 cases/);
    assertMatch(text.stdout, /Spacing: 1 x 2 x 3 mm in 2 cases\nLabels and their voxels: 1: 96\n/);
    assertMatch(text.stdout, /axis 2: 0 with 20 tumour pixels or more, 8 with fewer, 4 without/);
    assertMatch(text.stdout, /^Left out: odd\ufffdfolder holds no scan$/m);
    const args = ["inspect", data, "--json", "--patients", "who.csv", "--min-tumour", "12"];
    const json = await runCommand(args, { cwd: root });
    assertEquals(json.code, 0, json.stderr);
    const found = JSON.parse(json.stdout);
    assertEquals(found.patients, [{ id: "a", cases: ["S-1-000"] }, {
      id: "b",
      cases: ["S-1-001"],
    }]);
    assertEquals(found.slices, { tumour: 8, little: 0, empty: 4 });
    const none = await runCommand(["inspect", "nowhere"], { cwd: root });
    assertEquals([none.code, none.stdout], [1, ""]);
    assertMatch(none.stderr, /^error: cannot read nowhere/m);
  }));

Deno.test("inspect reads DICOM with the rights to read the folder alone", () =>
  inTemporaryFolder(async (root) => {
    const fixtures = join(import.meta.dirname!, "..", "formats", "fixtures", "formats");
    const { code, stdout, stderr } = await runCommand(
      ["inspect", join(fixtures, "dicom_two")],
      { cwd: root },
    );
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /1 patient in 2 cases \(by DICOM headers\)/);
    assertMatch(stdout, /Spacing: 1 x 1 x 2 mm in 1 case; 4 x 0.5 x 0.5 mm in 1 case/);
  }));
