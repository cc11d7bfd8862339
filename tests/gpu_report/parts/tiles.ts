import { answersOf } from "../child.ts";
import { figure } from "../figure.ts";
import { part } from "../part.ts";
import type { TileAnswer } from "../tile_process.ts";

/** Every tile for GPUs at shapes of the models. */
export const tiles = part<TileAnswer[]>({
  name: "tiles",
  title: "Tiles",
  needs: { GPU: 20, CPU: 60 },
  most: 60,
  run: async ({ signal, keep }) => {
    const answers = await answersOf<TileAnswer>("tests/gpu_report/tile_process.ts", [], {
      signal,
      onAnswer: (answers) => keep([...answers]),
    });
    if (answers.length === 0) throw new Error("no tile was timed");
    return answers;
  },
  headline: (answers) => {
    if (!answers[0].used) return null;
    const missed = answers.filter(({ speeds, chosen }) =>
      speeds[chosen] < 0.9 * Math.max(...Object.values(speeds))
    );
    return missed.length === 0
      ? "The table of tiles (kernels/target.ts) chooses within a tenth of the best for every shape."
      : `The table of tiles (kernels/target.ts) misses the best by more than a tenth for ${missed.length} of ${answers.length} shapes.`;
  },
  blocks: (answers) => [{
    kind: "table",
    caption:
      "Speed of each tile for GPUs in GFLOP/s; bold: the best. The last columns are what the table of tiles chooses for this device, and its speed in half precision.",
    header: ["Shape", ...Object.keys(answers[0].speeds), "Chosen", "Chosen, f16"],
    rows: answers.map(({ shape, speeds, chosen, half }) => {
      const best = Math.max(...Object.values(speeds));
      return [
        shape,
        ...Object.values(speeds).map((speed) => ({
          text: figure(speed),
          strong: speed === best,
        })),
        chosen,
        figure(half),
      ];
    }),
  }],
});
