// deno task profile: time by kernel, from timestamps, of one training step or forward pass.
import { parseArgs } from "@std/cli/parse-args";
import { runMain } from "../../lib/study/main.ts";
import {
  commandText,
  loadAtStart,
  readChoice,
  readCount,
  readModel,
  readSide,
  unknownOption,
} from "./command_line.ts";
import { writeRecord } from "./record.ts";
import { profileStep, profileTitle } from "./step_profile.ts";
import { perSecond, productTable, profileTable } from "./tables.ts";
import { batchOf, type Kind } from "./training.ts";

const usage = `usage: deno task profile [options]

  --model NAME  mobile_sam (default), or vit_b with seeded weights
  --side N      side of the input (default 256)
  --batch N     images of the step (default 4; 1 for vit_b and above side 512)
  --kind KIND   lora (default): adapters of rank 16 on every qkv; lora_late: on the last blocks' alone;
                peft: the mask decoder
  --cached      take the frozen prefix from the cache
  --forward     a forward pass without adapters
  --products    list the matrix products too, longest first
  --json FILE   write times, adapter and versions to FILE
`;

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: ["model", "side", "batch", "kind", "json"],
    boolean: ["cached", "forward", "products", "help"],
    default: { model: "mobile_sam", side: "256", kind: "lora" },
    unknown: unknownOption,
  });
  if (options.help) return console.log(usage);
  const { cached, forward } = options;
  const kind: Kind = forward
    ? "frozen"
    : readChoice("kind", options.kind, ["lora", "lora_late", "peft"] as const);
  const model = readModel(options.model);
  const side = readSide(options.side);
  const batch = options.batch === undefined
    ? batchOf(model, side)
    : readCount("batch", options.batch);
  const load = loadAtStart();
  const task = { model, side, batch, kind, cached };
  const { profile, tally, adapter } = await profileStep(task);
  console.log(`${adapter.name}: ${profileTitle(task)}\n`);
  console.log(profileTable(profile));
  if (options.products) console.log("\n" + productTable(tally));
  const { flops, dispatches } = tally.total;
  const { kernels, wallMilliseconds: wall } = profile;
  const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  console.log(
    `\n${dispatches} dispatches, ${(flops / 1e9).toPrecision(4)} GFLOP, ` +
      `${perSecond(flops, wall).toPrecision(3)} GFLOP/s`,
  );
  console.log(
    `kernels ${total.toFixed(0)} ms of ${wall.toFixed(0)} ms wall with timestamps ` +
      `(${(100 * total / wall).toFixed(1)} %)`,
  );
  await writeRecord(adapter, {
    command: commandText("profile", undefined),
    loadAtStart: load,
    results: { profiles: [profile] },
    json: options.json,
  });
});
