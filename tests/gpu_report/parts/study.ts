import { join } from "node:path";
import { HEADLINE_PROMPTS } from "../../../lib/evaluate/scored_prompts.ts";
import { promptName } from "../../../lib/report/format.ts";
import type { ComparisonTable } from "../../../lib/study/results.ts";
import { ROOT, runDeno } from "../child.ts";
import { part } from "../part.ts";

/** Mean Dice of a row by prompt: here, and as committed. */
interface Compared {
  readonly model: string;
  readonly seconds: number;
  readonly here: Readonly<Record<string, number>>;
  readonly committed: Readonly<Record<string, number>>;
}

/** The largest difference of a mean Dice. */
function largest({ here, committed }: Compared): number {
  return Math.max(...Object.keys(here).map((prompt) => Math.abs(here[prompt] - committed[prompt])));
}

async function tableIn(folder: string): Promise<ComparisonTable> {
  return JSON.parse(await Deno.readTextFile(join(folder, "table.json")));
}

/** A row of the default study, of the seed 0 alone, beside results/default. */
export const study = (
  { name, model, command, needs }: {
    name: string;
    model: string;
    command: readonly string[];
    needs: { GPU: number; CPU: number };
  },
) =>
  part<Compared>({
    name,
    title: `The default study's row ${model}`,
    needs,
    run: async ({ signal }) => {
      const folder = await Deno.makeTempDir();
      const start = performance.now();
      try {
        const launcher = ["run", "-q", "-P=launcher", join(ROOT, "experiments/launch.ts")];
        const out = join(folder, "study");
        const { success, reason } = await runDeno(
          [...launcher, ...command, "--out", out],
          { signal },
        );
        if (!success) throw new Error(signal.aborted ? "its time was over" : reason);
        const row = (await tableIn(out)).rows.find((row) => row.model === model)!;
        const committed = await tableIn(join(ROOT, "results/default"));
        const same = committed.parts!.find(({ part }) => part === "seed_0")!
          .rows.find((row) => row.model === model)!;
        const prompts = HEADLINE_PROMPTS.filter((prompt) => prompt in row.dice);
        return {
          model,
          seconds: (performance.now() - start) / 1000,
          here: Object.fromEntries(prompts.map((prompt) => [prompt, row.dice[prompt]!.mean])),
          committed: Object.fromEntries(prompts.map((prompt) => [prompt, same.dice[prompt]!])),
        };
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
    headline: (result) =>
      `${model}, run here in ${result.seconds.toFixed(0)} s, is within ${
        (100 * largest(result)).toFixed(2)
      } points of Dice of results/default.`,
    blocks: ({ here, committed, seconds }) => [{
      kind: "table",
      caption: `Mean Dice (%) over the test patients, seed 0; the study took ${
        seconds.toFixed(0)
      } s.`,
      header: ["", ...Object.keys(here).map(promptName)],
      rows: [
        ["here", ...Object.values(here).map((dice) => (100 * dice).toFixed(2))],
        ["results/default", ...Object.values(committed).map((dice) => (100 * dice).toFixed(2))],
      ],
    }],
  });
