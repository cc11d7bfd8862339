import { killOnce } from "./kills.ts";
import { TinyStudy } from "./tiny_study.ts";

/** Kills; `deno task faults` makes fifty. */
const KILLS = 3;

Deno.test("a study that is killed at a random moment goes on and loses no bit", async () => {
  await using study = await TinyStudy.make();
  for (let number = 1; number <= KILLS; number++) {
    console.log(`killed: ${await killOnce(study, number)}`);
  }
});
