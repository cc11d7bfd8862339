// deno task bench:peers: matrix products by other libraries and PyTorch's training step, in turns with ours.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { runMain } from "../../experiments/harness/main.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { loadMobileSamWeights } from "../../lib/weights/mobile_sam.ts";
import { writeSafetensors } from "../../lib/weights/safetensors.ts";
import { interleaved, onDevice, table, type Timed } from "./measure.ts";
import { Training } from "./mobile_sam.ts";
import { type Answer, operand, type Product } from "./peers/serve.ts";
import { writeRecord } from "./record.ts";

const usage = `usage: deno task bench:peers [options]

  --only NAME     one part: matmul (jax-js, TensorFlow.js, ONNX Runtime) or step (PyTorch)
  --python PATH   a Python with torch and numpy; without it there is no step
  --json FILE     write figures, adapter and versions to FILE
  --rounds N      timed runs of each (default 3)
`;

const PRODUCTS: readonly Product[] = [
  { m: 512, n: 512, k: 512, transposeB: false },
  { m: 1024, n: 1024, k: 1024, transposeB: false },
  { m: 4096, n: 512, k: 128, transposeB: true },
  { m: 1024, n: 1280, k: 320, transposeB: true },
];

/** A process that answers a line by a line. */
class Peer implements Disposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncIterator<string>;

  constructor(command: string, args: readonly string[]) {
    this.#process = new Deno.Command(command, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    // deno-lint-ignore no-explicit-any
    const input = Readable.fromWeb(this.#process.stdout as any);
    this.#lines = createInterface({ input })[Symbol.asyncIterator]();
  }

  /** The next line that is JSON; libraries print others too. */
  async read<T>(): Promise<T> {
    while (true) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error("a peer ended before it answered");
      if (value.startsWith("{")) return JSON.parse(value) as T;
    }
  }

  /** Sends a line and waits for the answer. */
  async ask<T>(line: string): Promise<T> {
    await this.#input.write(new TextEncoder().encode(line + "\n"));
    return await this.read<T>();
  }

  [Symbol.dispose](): void {
    this.#process.kill();
  }
}

/** GFLOP/s of every library at every product. */
async function benchProducts(gpu: Gpu, { rounds }: { rounds: number }) {
  const folder = join(import.meta.dirname!, "peers");
  const config = `--config=${join(folder, "deno.json")}`;
  const start = (file: string) =>
    new Peer(Deno.execPath(), ["run", "-A", config, join(folder, file)]);
  using jax = start("jax.ts");
  using tfjs = start("tfjs.ts");
  using ort = start("ort.ts");
  const peers = {
    "jax-js, WebGPU": jax,
    "TensorFlow.js, WebGPU": tfjs,
    "ONNX Runtime, WASM": ort,
  };
  const results = [];
  for (const product of PRODUCTS) {
    const { m, n, k, transposeB } = product;
    using _ = new Scope(gpu);
    const a = Tensor.from(gpu, operand(m * k, 1), [m, k]);
    const b = Tensor.from(gpu, operand(k * n, 2), transposeB ? [n, k] : [k, n]);
    const multiply = () => noGrad(() => matmul(a, b, { transposeB }));
    const last = (await multiply().data())[m * n - 1];
    const contestants: Record<string, Timed> = {
      samlora: onDevice(gpu, () => multiply().dispose()),
    };
    for (const [name, peer] of Object.entries(peers)) {
      contestants[name] = async (repeats) => {
        const answer = await peer.ask<Answer>(JSON.stringify({ ...product, repeats }));
        if (answer.last !== null && Math.abs(answer.last - last) > 1e-3) {
          throw new Error(`${name} gives ${answer.last}, we give ${last}`);
        }
        return answer.milliseconds;
      };
    }
    const times = await interleaved(contestants, { rounds });
    const speeds = Object.entries(times).map(([name, ms]) => [name, 2 * m * n * k / ms / 1e6]);
    results.push({
      product: `${m} x ${n} x ${k}, ${transposeB ? "NT" : "NN"}`,
      gflops: Object.fromEntries(speeds) as Record<string, number>,
    });
  }
  return results;
}

/** Milliseconds of a LoRA-16 step at side 256, batch 4, ours and PyTorch's, and both their losses. */
async function benchTorch(gpu: Gpu, { rounds, python }: { rounds: number; python: string }) {
  using training = await Training.open(gpu, { kind: "lora", side: 256, batch: 4 });
  const state = new Map(await loadMobileSamWeights());
  for (const [path, { lora_A, lora_B }] of training.adapters) {
    for (const [part, { weight }] of [["A", lora_A], ["B", lora_B]] as const) {
      state.set(`${path}.lora_${part}`, { shape: [...weight.shape], data: await weight.data() });
    }
  }
  state.set("bench.pixels", { shape: [4, 256, 256, 3], data: training.pixels });
  state.set("bench.masks", { shape: [4, 256, 256], data: training.masks });
  state.set("bench.boxes", { shape: [4, 4], data: Float32Array.from(training.boxes.flat()) });
  const folder = await Deno.makeTempDir();
  try {
    const inputs = join(folder, "inputs.safetensors");
    await writeSafetensors(inputs, state);
    using peer = new Peer(python, [join(import.meta.dirname!, "torch_step.py"), inputs, "2"]);
    const { torch } = await peer.read<{ torch: string }>();
    const ours: number[] = [];
    const theirs: number[] = [];
    const step: Timed = async (repeats) => {
      const start = performance.now();
      const losses = Array.from({ length: repeats }, () => training.step());
      await gpu.finish();
      const milliseconds = performance.now() - start;
      for (const loss of losses) {
        ours.push(await loss.item());
        loss.dispose();
      }
      return milliseconds;
    };
    const torchStep: Timed = async (repeats) => {
      const answer = await peer.ask<{ milliseconds: number; losses: number[] }>(String(repeats));
      theirs.push(...answer.losses);
      return answer.milliseconds;
    };
    const milliseconds = await interleaved({ samlora: step, torch: torchStep }, { rounds });
    const compared = Math.min(ours.length, theirs.length);
    const differences = ours.slice(0, compared).map((loss, i) => Math.abs(loss / theirs[i] - 1));
    return {
      torch,
      threads: 2,
      milliseconds,
      ratio: milliseconds.samlora / milliseconds.torch,
      losses: { samlora: ours.slice(0, compared), torch: theirs.slice(0, compared) },
      largestRelativeDifference: Math.max(...differences),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: ["only", "json", "rounds", "python"],
    boolean: ["help"],
    default: { rounds: "3" },
    unknown: (option) => {
      throw new InputError(`there is no option ${option.split("=")[0]}: --help lists them`);
    },
  });
  if (options.help) return console.log(usage);
  const { only, json, python } = options;
  if (only !== undefined && only !== "matmul" && only !== "step") {
    throw new InputError(`there is no part ${only}: choose matmul or step`);
  }
  if (only === "step" && !python) throw new InputError("--only step needs --python PATH");
  const rounds = Number(options.rounds);
  if (!(Number.isInteger(rounds) && rounds > 0)) {
    throw new InputError(`--rounds ${options.rounds} must be a whole number above 0`);
  }
  const loadAtStart = Deno.loadavg();
  const results: Record<string, unknown> = {};
  using gpu = await Gpu.open();
  console.log(`${gpu.info.name}, Deno ${Deno.version.deno}, load ${loadAtStart[0].toFixed(2)}\n`);
  if (only !== "step") {
    const products = await benchProducts(gpu, { rounds });
    results.matmul = products;
    const names = Object.keys(products[0].gflops);
    const rows = products.map(({ product, gflops }) => [
      product,
      ...names.map((name) => gflops[name]),
    ]);
    console.log(table(["matmul, GFLOP/s", ...names], rows) + "\n");
  }
  if (only !== "matmul" && python) {
    const step = await benchTorch(gpu, { rounds, python });
    results.step = step;
    const { milliseconds: { samlora, torch }, ratio, losses } = step;
    console.log(
      table(["MobileSAM LoRA-16 step, side 256, batch 4", "ms"], [
        ["samlora", samlora],
        [`PyTorch ${step.torch}, 2 threads`, torch],
        ["ratio", ratio],
      ]) + "\n",
    );
    const rows = losses.samlora.map((
      loss,
      i,
    ) => [i + 1, loss.toFixed(6), losses.torch[i].toFixed(6)]);
    console.log(table(["step", "our loss", "PyTorch's"], rows) + "\n");
  }
  // The path of Python is this machine's own affair.
  const args = Deno.args.map((arg) => python ? arg.replace(python, "PATH") : arg);
  const command = ["deno task bench:peers", ...args].join(" ");
  await writeRecord(gpu.info, { command, loadAtStart, results, json });
});
