import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { commands } from "../../experiments/commands.ts";
import { parseOptions } from "../../lib/study/command_line.ts";
import { openGpu } from "../../lib/study/device.ts";
import { InputError } from "../../lib/errors.ts";
import { readOptions } from "./read_options.ts";

Deno.test("--webgpu names an implementation, by default Deno's", async () => {
  assertEquals(readOptions([]).webgpu, "deno");
  assertEquals(readOptions(["--webgpu", "dawn"]).webgpu, "dawn");
  const { given } = parseOptions(["run", "--webgpu=dawn"], commands.evaluate.fields);
  assertEquals(given.webgpu, "dawn");
  assertThrows(
    () => readOptions(["--webgpu", "metal"]),
    InputError,
    "--webgpu cannot be metal: choose deno or dawn",
  );
  using gpu = await openGpu({ webgpu: "deno", family: null });
  assertEquals(gpu.info.name.length > 0, true);
});

Deno.test({
  name: "without leave to run native code Dawn is refused with the remedy, and not fetched",
  permissions: { ffi: false, read: true, env: true, sys: true, write: true },
  fn: async () => {
    await assertRejects(
      () => openGpu({ webgpu: "dawn", family: null }),
      InputError,
      "with --allow-ffi",
    );
  },
});
