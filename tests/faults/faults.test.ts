import { SOME_FAULTS } from "./cases.ts";
import { TinyStudy } from "./tiny_study.ts";

Deno.test("every fault ends in one sentence, and nothing is lost or half-written", async (t) => {
  await using study = await TinyStudy.make();
  for (const { name, run } of SOME_FAULTS) {
    await t.step(name, async () => console.log(await run(study)));
  }
});
