// deno task bench:peers: matrix products by other libraries and PyTorch's training step, in turns with ours.
import { parseArgs } from "@std/cli/parse-args";
import { runMain } from "../../lib/study/main.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import {
  commandText,
  loadAtStart,
  readChoice,
  readCount,
  readModel,
  readPython,
  readSide,
  unknownOption,
} from "./command_line.ts";
import { benchPeerProducts } from "./peer_products.ts";
import { benchPeerSteps, STEP_CASES } from "./peer_steps.ts";
import { writeRecord } from "./record.ts";
import { peerProductTable, peerStepTable } from "./tables.ts";
import { batchOf } from "./training.ts";

const usage = `usage: deno task bench:peers [options]

  --only NAME     one part: matmul (JavaScript's libraries, BLAS, PyTorch) or step (PyTorch)
  --model NAME    step: mobile_sam or vit_b alone
  --side N        step: this side alone
  --long          step: MobileSAM at 512 and ViT-B too
  --python PATH   a Python with the packages of tests/reference/requirements.txt; without it there is
                  no step, and JavaScript's libraries alone
  --rounds N      timed runs of each at most (default 3)
  --json FILE     write figures, adapter and versions to FILE
`;

const PARTS = ["matmul", "step"] as const;

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: ["only", "model", "side", "python", "rounds", "json"],
    boolean: ["long", "help"],
    default: { rounds: "3" },
    unknown: unknownOption,
  });
  if (options.help) return console.log(usage);
  const { json, long } = options;
  const python = await readPython(options.python);
  const only = options.only === undefined ? undefined : readChoice("part", options.only, PARTS);
  if (only === "step" && !python) throw new InputError("--only step needs --python PATH");
  const model = options.model === undefined ? undefined : readModel(options.model);
  const side = options.side === undefined ? undefined : readSide(options.side);
  const cases = model && side
    ? [{ model, side, batch: batchOf(model, side) }]
    : STEP_CASES.filter((one) =>
      (!model || one.model === model) && (!side || one.side === side) &&
      (long || side !== undefined || !one.long)
    );
  if (cases.length === 0) {
    throw new InputError("no step is chosen: add --long, or name both --model and --side");
  }
  const rounds = readCount("rounds", options.rounds);
  const load = loadAtStart();
  const results: Record<string, unknown> = {};
  const command = commandText("bench:peers", python);
  // After every part: what was measured is not lost if a later one fails.
  const save = () => writeRecord(gpu.info, { command, loadAtStart: load, results, json });
  using gpu = await Gpu.open();
  console.log(`${gpu.info.name}, Deno ${Deno.version.deno}, load ${load[0].toFixed(2)}\n`);
  if (only !== "step") {
    const products = await benchPeerProducts(gpu, { rounds, python });
    results.peerProducts = products;
    await save();
    console.log(peerProductTable(products) + "\n");
    for (const { name, error } of products.failed) console.log(`failed: ${name}: ${error}`);
  }
  if (only !== "matmul" && python) {
    const steps = await benchPeerSteps(gpu, cases, { rounds, python });
    results.peerSteps = steps;
    await save();
    console.log(peerStepTable(steps) + "\n");
  }
});
