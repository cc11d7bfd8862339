import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { matmulTiles } from "../../kernels/matmul/mod.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Tuner, type Variant } from "../../lib/gpu/tuner.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertClose, f32Tolerance } from "../ops/check.ts";
import { matmul64 } from "../ops/references/matmul.ts";

/** Variants whose times are given, and how often any was timed. */
function fake(times: Readonly<Record<string, number>>) {
  const calls = { count: 0 };
  const variants = Object.entries(times).map(([name, milliseconds]): Variant => ({
    name,
    time: (repeats) => {
      calls.count++;
      return Promise.resolve(repeats * milliseconds);
    },
  }));
  return { names: Object.keys(times), variants: () => variants, calls };
}

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const adapter = "llvmpipe, 8 lanes";
const sources = ["a", "b"];

Deno.test("the static choice holds until measured, the fastest from then on", () =>
  inFolder(async (folder) => {
    const tuner = await Tuner.open({ folder, adapter, sources });
    const { names, variants, calls } = fake({ first: 3, second: 1, third: 2 });
    assertEquals(tuner.choose("work", names, variants), "first");
    assert(tuner.isPending);
    assertEquals(calls.count, 0, "nothing is measured before it is asked for");
    await tuner.measure();
    assertEquals(tuner.choose("work", names, variants), "second");
    assert(!tuner.isPending);
    assertEquals(tuner.tuning.choices, { work: "second" });
  }));

Deno.test("a later run takes what was chosen without measuring", () =>
  inFolder(async (folder) => {
    const first = await Tuner.open({ folder, adapter, sources });
    const slow = fake({ first: 3, second: 1 });
    first.choose("work", slow.names, slow.variants);
    await first.measure();
    const later = await Tuner.open({ folder, adapter, sources });
    // The times have turned round: what is remembered must not depend on them.
    const other = fake({ first: 1, second: 3 });
    assertEquals(later.choose("work", other.names, other.variants), "second");
    assert(!later.isPending);
    await later.measure();
    assertEquals(other.calls.count, 0);
    assertEquals(later.tuning, first.tuning);
  }));

Deno.test("choices of another adapter or of other kernels do not count", () =>
  inFolder(async (folder) => {
    const tuner = await Tuner.open({ folder, adapter, sources });
    const { names, variants } = fake({ first: 3, second: 1 });
    tuner.choose("work", names, variants);
    await tuner.measure();
    for (const other of [{ adapter: "another", sources }, { adapter, sources: ["a", "c"] }]) {
      const its = await Tuner.open({ folder, ...other });
      assertEquals(its.choose("work", names, variants), "first");
      assert(its.isPending);
    }
    // Nor does a file of another adapter that was copied to this one's place.
    const [{ name }] = [...Deno.readDirSync(folder)];
    const text = await Deno.readTextFile(join(folder, name));
    await Deno.writeTextFile(join(folder, name), text.replace(adapter, "another"));
    assertEquals((await Tuner.open({ folder, adapter, sources })).tuning.choices, {});
  }));

Deno.test("a damaged file is ignored and made again", () =>
  inFolder(async (folder) => {
    const tuner = await Tuner.open({ folder, adapter, sources });
    const { names, variants } = fake({ first: 3, second: 1 });
    tuner.choose("work", names, variants);
    await tuner.measure();
    const [{ name }] = [...Deno.readDirSync(folder)];
    const path = join(folder, name);
    const whole = await Deno.readTextFile(path);
    const { choices: _, ...rest } = JSON.parse(whole);
    for (
      const damaged of [
        "",
        whole.slice(0, 40),
        "null",
        "[]",
        JSON.stringify(rest),
        JSON.stringify({ ...rest, choices: { work: 7 } }),
        JSON.stringify({ ...rest, choices: ["second"] }),
      ]
    ) {
      await Deno.writeTextFile(path, damaged);
      const again = await Tuner.open({ folder, adapter, sources });
      assertEquals(again.choose("work", names, variants), "first", damaged);
      await again.measure();
      assertEquals(await Deno.readTextFile(path), whole);
    }
  }));

Deno.test("a choice that is no longer among the variants is measured anew", () =>
  inFolder(async (folder) => {
    const tuner = await Tuner.open({ folder, adapter, sources });
    const before = fake({ first: 3, second: 1 });
    tuner.choose("work", before.names, before.variants);
    await tuner.measure();
    const after = fake({ first: 3, third: 2 });
    assertEquals(tuner.choose("work", after.names, after.variants), "first");
    await tuner.measure();
    assertEquals(tuner.choose("work", after.names, after.variants), "third");
  }));

Deno.test("work with a single variant is never measured", () =>
  inFolder(async (folder) => {
    const tuner = await Tuner.open({ folder, adapter, sources });
    const { names, variants } = fake({ only: 1 });
    assertEquals(tuner.choose("work", names, variants), "only");
    assert(!tuner.isPending);
    await tuner.measure();
    assertEquals([...Deno.readDirSync(folder)], []);
  }));

Deno.test("a tuned product is measured at the first read, stays right and is recorded", () =>
  inFolder(async (folder) => {
    const before = Deno.env.get("SAMLORA_CACHE");
    Deno.env.set("SAMLORA_CACHE", folder);
    try {
      using gpu = await Gpu.open({ tune: true });
      using _ = new Scope(gpu);
      const [m, n, k] = [40, 36, 8];
      const a = Float32Array.from({ length: m * k }, (_, i) => Math.sin(i));
      const b = Float32Array.from({ length: k * n }, (_, i) => Math.cos(i));
      const multiply = () =>
        matmul(Tensor.from(gpu, a, [m, k]), Tensor.from(gpu, b, [k, n])).data();
      const expected = matmul64([
        { shape: [m, k], data: Float64Array.from(a) },
        { shape: [k, n], data: Float64Array.from(b) },
      ], {}).data;
      assertClose(await multiply(), expected, f32Tolerance, "untuned");
      const { choices } = gpu.tuning!;
      const problem = { m, n, k };
      assertEquals(Object.keys(choices), ["matmul NN 1 x 40 x 36 x 8 none"]);
      assert(matmulTiles(problem, gpu.subgroupSize).includes(Object.values(choices)[0]));
      assertClose(await multiply(), expected, f32Tolerance, "tuned");
      assertEquals(gpu.tuning!.choices, choices);
      using next = await Gpu.open({ tune: true });
      assertEquals(next.tuning, gpu.tuning);
    } finally {
      if (before === undefined) Deno.env.delete("SAMLORA_CACHE");
      else Deno.env.set("SAMLORA_CACHE", before);
    }
  }));

Deno.test("without being asked for nothing is tuned", async () => {
  using gpu = await Gpu.open();
  assertEquals(gpu.tuning, null);
});
