import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { evaluateFields } from "../../experiments/commands.ts";
import { parseCommandLine } from "../../lib/study/command_line.ts";
import { parseOptions } from "../../lib/study/schema.ts";
import { openGpu } from "../../lib/study/webgpu.ts";
import { InputError } from "../../lib/errors.ts";

Deno.test("--webgpu names an implementation, by default Deno's", async () => {
  assertEquals(parseOptions([]).webgpu, "deno");
  assertEquals(parseOptions(["--webgpu", "dawn"]).webgpu, "dawn");
  const { given } = parseCommandLine(["run", "--webgpu=dawn"], evaluateFields);
  assertEquals(given.webgpu, "dawn");
  assertThrows(
    () => parseOptions(["--webgpu", "metal"]),
    InputError,
    "--webgpu cannot be metal: choose deno or dawn",
  );
  using gpu = await openGpu("deno");
  assertEquals(gpu.info.name.length > 0, true);
});

Deno.test({
  name: "without leave to run native code Dawn is refused with the remedy, and not fetched",
  permissions: { ffi: false, read: true, env: true, sys: true, write: true },
  fn: async () => {
    await assertRejects(() => openGpu("dawn"), InputError, "with --allow-ffi");
  },
});
