import { runChain, SOME_FAULTS } from "./cases.ts";
import { TinyStudy } from "./tiny_study.ts";

Deno.test("every fault ends in one sentence, and nothing is lost or half-written", async (t) => {
  await using study = await TinyStudy.make();
  for (const chain of SOME_FAULTS) {
    await runChain(study, chain, (name, run) => t.step(name, async () => console.log(await run())));
  }
});
