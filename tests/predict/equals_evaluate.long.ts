import { assert, assertEquals } from "@std/assert";
import { SHIPPED_NAMES } from "../../lib/study/shipped.ts";
import { SAMPLE } from "../../lib/study/study_data.ts";
import { compare } from "./equals_evaluate.ts";

Deno.test("masks of predict without a prompt have the Dice that evaluate gives the same slices", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const slices = await compare({ adapter: SHIPPED_NAMES[0], data: SAMPLE, folder });
    assert(slices.length >= 5 && slices.every(({ evaluated }) => evaluated > 0.5));
    for (const { id, evaluated, predicted } of slices) assertEquals(predicted, evaluated, id);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
