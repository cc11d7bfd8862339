import { assertEquals } from "@std/assert";
import { runChain, TWO_FAULTS } from "./cases.ts";
import { TinyStudy } from "./tiny_study.ts";

Deno.test("a study that is killed, stopped and short of room goes on and loses no bit", async (t) => {
  await using study = await TinyStudy.make();
  const kill = { write: "safetensors$", nth: 2, at: "half" } as const;
  const { code } = await study.begin(TWO_FAULTS.name, { fault: { kill } }).outcome;
  assertEquals(code, 128 + 9);
  await runChain(study, TWO_FAULTS, (name, run) => t.step(name, async () => void await run()));
});
