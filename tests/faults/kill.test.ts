import { killMany } from "./kills.ts";
import { TinyStudy } from "./tiny_study.ts";

/** Kills; `deno task faults` makes fifty. */
const KILLS = 5;

Deno.test("a study that is killed at random moments goes on and loses no bit", async () => {
  await using study = await TinyStudy.make();
  await killMany(study, {
    kills: KILLS,
    onStudy: (moments, error) => {
      console.log(`killed ${moments.join(", ")}`);
      if (error !== undefined) throw error;
    },
  });
});
