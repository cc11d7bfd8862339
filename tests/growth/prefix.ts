// deno task growth:prefix: processor time of a study's frozen prefix, and of a training with it and without,
// on the embedded sample; what it costs and saves by the number of trainings goes to results/cluster.
import { join } from "node:path";
import { drawPrefix, type PrefixCost } from "./figure.ts";
import { measure } from "./measure.ts";

const results = join(import.meta.dirname!, "..", "..", "results", "cluster");
const cwd = await Deno.makeTempDir();
const OPTIONS = [
  "--side=128",
  "--epochs=1",
  "--baselines=vanilla",
  "--ranks=16",
  "--encoder-ranks=none",
  "--save-modules=none",
  "--wise-ft=1",
  "--seeds=0,1,2",
  "--max-train=24",
  "--max-validation=8",
  "--max-test=8",
];
/** A training of the first row with adapters; those of the other seeds cost as much. */
const [WITH, WITHOUT] = ["4", "6"];
try {
  await measure(cwd, "plan.ts", ["--out", "study", ...OPTIONS, "--untimed"]);
  const prefix = await measure(cwd, "task.ts", ["study", "0"]);
  let bytes = 0;
  for (const { name } of Deno.readDirSync(join(cwd, "study", "prefix"))) {
    if (name.endsWith(".bin")) bytes += Deno.statSync(join(cwd, "study", "prefix", name)).size;
  }
  const withPrefix = await measure(cwd, "task.ts", ["study", WITH]);
  await Deno.remove(join(cwd, "study", "prefix"), { recursive: true });
  const without = await measure(cwd, "task.ts", ["study", WITHOUT]);
  const cost: PrefixCost = {
    command: "deno task growth:prefix",
    prefix: { cpuSeconds: prefix.cpuSeconds, diskBytes: bytes },
    training: { withPrefix: withPrefix.cpuSeconds, without: without.cpuSeconds },
  };
  console.log(JSON.stringify(cost));
  await Deno.mkdir(results, { recursive: true });
  await Deno.writeTextFile(join(results, "prefix.json"), JSON.stringify(cost, null, 2) + "\n");
  await drawPrefix(cost, join(results, "prefix.png"));
} finally {
  await Deno.remove(cwd, { recursive: true });
}
