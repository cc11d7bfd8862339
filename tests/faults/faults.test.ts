import { runChain, SOME_FAULTS } from "./cases.ts";
import { killMany } from "./kills.ts";
import { assertRefusals } from "./refusals.ts";
import { TinyStudy } from "./tiny_study.ts";

/** Kills; `deno task faults` makes fifty. */
const KILLS = 3;

/** One for all tests: each ends with data and cache as they were. */
let study: TinyStudy;
Deno.test.beforeAll(async () => {
  study = await TinyStudy.make();
});
// Without a study, the error that kept it from being made is the one to show.
Deno.test.afterAll(() => study?.[Symbol.asyncDispose]());

Deno.test("a study that is killed at a random moment goes on and loses no bit", async () => {
  await killMany(study, {
    kills: KILLS,
    onKill: ({ moment, error }) => {
      console.log(`killed ${moment}`);
      if (error !== undefined) throw error;
    },
  });
});

Deno.test("every fault ends in one sentence, and nothing is lost or half-written", async (t) => {
  for (const chain of SOME_FAULTS) {
    await runChain(study, chain, (name, run) => t.step(name, async () => console.log(await run())));
  }
});

Deno.test("a study goes on with nothing else than what it was begun with, unless forced", async (t) => {
  await assertRefusals(study, t);
});
