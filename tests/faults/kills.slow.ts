import { killMany } from "./kills.ts";
import { TinyStudy } from "./tiny_study.ts";

/** Kills; `deno task faults` makes fifty. */
const KILLS = 3;

Deno.test("a study that is killed at a random moment goes on and loses no bit", async () => {
  await using study = await TinyStudy.make();
  await killMany(study, {
    kills: KILLS,
    onKill: ({ moment, error }) => {
      console.log(`killed ${moment}`);
      if (error !== undefined) throw error;
    },
  });
});
