import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ADAPTER_FILES } from "../../lib/adapters/adapter.ts";
import { adapterPath, SHIPPED_NAMES } from "../../lib/study/shipped.ts";
import { SAMPLE } from "../../lib/study/study_data.ts";
import { compare } from "./equals_evaluate.ts";

/** Copies a folder of files. */
async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for (const { name } of Deno.readDirSync(from)) {
    await Deno.copyFile(join(from, name), join(to, name));
  }
}

/** Copies an adapter without the run that it comes from: evaluate would leave out the patients it was trained on. */
async function withoutRun(adapter: string, to: string): Promise<string> {
  await Deno.mkdir(to);
  await Deno.copyFile(join(adapter, ADAPTER_FILES.config), join(to, ADAPTER_FILES.config));
  const bytes = await Deno.readFile(join(adapter, ADAPTER_FILES.weights));
  const header = bytes.subarray(8, 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true)));
  const { __metadata__, ...tensors } = JSON.parse(new TextDecoder().decode(header));
  assert(__metadata__ !== undefined);
  header.set(new TextEncoder().encode(JSON.stringify(tensors).padEnd(header.length)));
  await Deno.writeFile(join(to, ADAPTER_FILES.weights), bytes);
  return to;
}

Deno.test("masks of predict without a prompt have the Dice that evaluate gives the same slices", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const adapter = await withoutRun(adapterPath(SHIPPED_NAMES[0]), join(folder, "adapter"));
    const data = join(folder, "data");
    await Deno.mkdir(data);
    const cases = Array.from(Deno.readDirSync(SAMPLE)).filter(({ isDirectory }) => isDirectory)
      .map(({ name }) => name).sort().slice(0, 6);
    for (const name of cases) await copy(join(SAMPLE, name), join(data, name));
    const options = ["--side", "512"];
    const slices = await compare({ adapter, data, folder, options });
    assertEquals(slices.length, cases.length);
    assert(slices.every(({ evaluated }) => evaluated > 0.5));
    for (const { id, evaluated, predicted } of slices) assertEquals(predicted, evaluated, id);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
