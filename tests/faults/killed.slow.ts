import { assertEquals } from "@std/assert";
import { ONE_FAULT, runChain } from "./cases.ts";
import { TinyStudy } from "./tiny_study.ts";

Deno.test("a study that is killed and stopped goes on and loses no bit", async (t) => {
  await using study = await TinyStudy.make();
  const kill = { write: "safetensors$", nth: 2, at: "half" } as const;
  const { code } = await study.begin(ONE_FAULT.name, { fault: { kill } }).outcome;
  assertEquals(code, 128 + 9);
  await runChain(study, ONE_FAULT, (name, run) => t.step(name, async () => void await run()));
});
