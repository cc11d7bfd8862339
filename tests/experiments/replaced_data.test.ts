// Slices are of the data that are there now, whatever the times of their files say.
import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset, tinyFile } from "./tiny_dataset.ts";

const folder = await tinyDataset(2);
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** Sizes of the tumours that vanilla SAM is scored on, slice by slice. */
async function tumours(out: string): Promise<number[]> {
  const args = ["evaluate", "vanilla", "--data", "data", "--side", "64", "--out", out];
  const { code, stderr } = await runCommand([...args, "--test-prompts", "tight-box"], {
    cwd: folder,
  });
  assertEquals(code, 0, stderr);
  const { slices } = JSON.parse(await Deno.readTextFile(join(folder, out)));
  return slices.map(({ tumourPixels }: { tumourPixels: number }) => tumourPixels);
}

Deno.test("a mask replaced by one of the same size and time is cut anew", async () => {
  const [first, second] = await Promise.all([1, 2].map(async (patient) => {
    const packed = tinyFile(folder, patient, "seg");
    const plain = packed.replace(/\.gz$/, "");
    await writeNifti(plain, await readNifti(packed), { datatype: "uint8" });
    await Deno.remove(packed);
    return plain;
  }));
  const before = await tumours("before.json");
  const { size, atime, mtime } = await Deno.stat(first);
  await Deno.copyFile(second, first);
  await Deno.utime(first, atime!, mtime!);
  const now = await Deno.stat(first);
  assertEquals([now.size, now.mtime], [size, mtime]);

  const after = await tumours("after.json");
  assertNotEquals(before.slice(0, 2), before.slice(2));
  assertEquals(after, [...before.slice(2), ...before.slice(2)]);
});
