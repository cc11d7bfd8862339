// deno task bench:peers: matrix products by other libraries and PyTorch's training step, in turns with ours.
import { InputError } from "../../lib/errors.ts";
import { runBench } from "./command_line.ts";
import { benchPeerProducts } from "./peer_products.ts";
import { benchPeerSteps, STEP_CASES } from "./peer_steps.ts";
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

await runBench("bench:peers", { usage, parts: PARTS, rounds: "3" }, async (bench) => {
  const { gpu, only, model, side, long, python, rounds } = bench;
  if (only === "step" && !python) throw new InputError("--only step needs --python PATH");
  const cases = model && side
    ? [{ model, side, batch: batchOf(model, side) }]
    : STEP_CASES.filter((one) =>
      (!model || one.model === model) && (!side || one.side === side) &&
      (long || side !== undefined || !one.long)
    );
  if (cases.length === 0) {
    throw new InputError("no step is chosen: add --long, or name both --model and --side");
  }
  if (only !== "step") {
    const products = await benchPeerProducts(gpu, { rounds, python });
    await bench.add("peerProducts", products, peerProductTable(products));
    for (const { name, error } of products.failed) console.log(`failed: ${name}: ${error}`);
  }
  if (only !== "matmul" && python) {
    const steps = await benchPeerSteps(gpu, cases, { rounds, python });
    await bench.add("peerSteps", steps, peerStepTable(steps));
  }
});
