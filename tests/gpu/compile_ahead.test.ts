import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { gpu } from "../gpu.ts";

const PROGRAM = fileURLToPath(new URL("./compile_ahead_process.ts", import.meta.url));

/** What the program saw, with the driver's cache in a folder. */
async function seen(
  cache: string,
): Promise<Record<"threads" | "before" | "ahead" | "after", number>> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", PROGRAM, cache],
    env: { MESA_SHADER_CACHE_DIR: cache },
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const { values, ...counts } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(values.length, 256);
  return counts;
}

Deno.test({
  name:
    "threads compile the very kernels that the device comes to, where the driver's cache is empty",
  ignore: !/llvmpipe/i.test(gpu.info.name),
  fn: async () => {
    const cache = await Deno.makeTempDir();
    try {
      const cold = await seen(cache);
      const threads = Math.max(1, Math.min(3, navigator.hardwareConcurrency - 1));
      assertEquals(cold, { threads, before: 2, ahead: 3, after: 3 }); // one is the cache's index
      assertEquals(await seen(cache), { threads: 0, before: 3, ahead: 3, after: 3 });
    } finally {
      await Deno.remove(cache, { recursive: true });
    }
  },
});
