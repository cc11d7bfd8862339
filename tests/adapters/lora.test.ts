import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { Linear } from "../../lib/nn/linear.ts";
import { injectLora, LoraLinear, type LoraOptions } from "../../lib/adapters/lora.ts";
import { Module } from "../../lib/nn/module.ts";
import { Random } from "../../lib/random.ts";
import { loraLinear } from "../../lib/tensor/ops/lora_linear.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { relu } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertClose, checkOp, f32Tolerance } from "../ops/check.ts";
import { loraLinear64 } from "../ops/references/matmul.ts";

class Block extends Module {
  readonly qkv: Linear;
  readonly outProj: Linear;

  constructor(dim: number) {
    super(gpu);
    this.qkv = new Linear(gpu, { inFeatures: dim, outFeatures: 3 * dim });
    this.outProj = new Linear(gpu, { inFeatures: 3 * dim, outFeatures: dim, bias: false });
  }

  forward(x: Tensor): Tensor {
    return this.outProj.forward(relu(this.qkv.forward(x)));
  }
}

/** Three blocks of two Linears. */
class Toy extends Module {
  readonly layers: Block[];

  constructor(dim = 6) {
    super(gpu);
    this.layers = Array.from({ length: 3 }, () => new Block(dim));
    const random = new Random("toy");
    for (const [, tensor] of this.namedParameters()) {
      tensor.write(Float32Array.from({ length: tensor.size }, () => 0.5 * random.normal()));
    }
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce((y, layer) => layer.forward(y), x);
  }
}

function inject(
  model: Module,
  options: Partial<Parameters<typeof injectLora>[1]> = {},
): Promise<Map<string, LoraLinear>> {
  const { r = 2 } = options;
  return injectLora(model, {
    r,
    lora_alpha: r,
    target_modules: ["qkv"],
    random: new Random(1),
    ...options,
  });
}

function randomTensor(seed: string, ...shape: number[]): Tensor {
  const random = new Random(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.from(gpu, Float32Array.from({ length: size }, () => random.normal()), shape);
}

/** Gives B values, as training would. */
function fillB(adapters: Map<string, LoraLinear>): void {
  const random = new Random("B");
  for (const { lora_B: { weight } } of adapters.values()) {
    weight.write(Float32Array.from({ length: weight.size }, () => 0.1 * random.normal()));
  }
}

Deno.test("targets are suffixes of whole names, or a pattern of the whole path", async () => {
  const paths = async (target_modules: LoraOptions["target_modules"]) => {
    const model = new Toy();
    const injected = [...(await inject(model, { target_modules })).keys()];
    const found = [...model.namedModules()].filter(([, module]) => module instanceof LoraLinear);
    assertEquals(found.map(([path]) => path), injected, "the adapters are in the model");
    model.dispose();
    return injected;
  };
  const qkv = [0, 1, 2].map((i) => `layers.${i}.qkv`);
  const all = [0, 1, 2].flatMap((i) => [`layers.${i}.qkv`, `layers.${i}.out_proj`]);
  assertEquals(await paths(["qkv"]), qkv);
  assertEquals(await paths(["1.qkv"]), ["layers.1.qkv"]);
  assertEquals(await paths(["qkv", "out_proj"]), all);
  assertEquals(await paths(["qkv", "nothing"]), qkv);
  assertEquals(await paths("layers\\.[02]\\.out_proj"), ["layers.0.out_proj", "layers.2.out_proj"]);
  await assertRejects(() => paths("qkv"), InputError, "no Linear"); // a part of the path is not enough
  await assertRejects(() => paths(["kv"]), InputError, "no Linear");
});

Deno.test("blocks are counted in the order of the blocks that hold targets", async () => {
  const model = new Toy();
  const chosen = await inject(model, { target_modules: ["qkv", "out_proj"], blocks: [0, 2] });
  assertEquals([...chosen.keys()], [
    "layers.0.qkv",
    "layers.0.out_proj",
    "layers.2.qkv",
    "layers.2.out_proj",
  ]);
  model.dispose();
  const other = new Toy();
  await assertRejects(
    () => inject(other, { blocks: [1, 3] }),
    InputError,
    "there is no block 3: the targets lie in 3 blocks",
  );
  await assertRejects(() => inject(other, { blocks: [] }), InputError, "no block is chosen");
  other.dispose();
});

Deno.test("an unknown target names what the model has", async () => {
  const model = new Toy();
  const { message } = await assertRejects(
    () => inject(model, { target_modules: ["attn.query"] }),
    InputError,
  );
  for (const name of ["attn.query", "0.qkv", "2.out_proj"]) assertStringIncludes(message, name);
  model.dispose();
});

Deno.test("a model that has adapters takes no others", async () => {
  const model = new Toy();
  await inject(model, { blocks: [0] });
  await assertRejects(() => inject(model, { blocks: [1] }), InputError, "adapters already");
  model.dispose();
});

Deno.test("a rank that is not a whole number from 1 is refused", async () => {
  const model = new Toy();
  for (const rank of [0, -4, 1.5, NaN]) {
    await assertRejects(() => inject(model, { r: rank }), InputError, `a LoRA rank of ${rank}`);
  }
  model.dispose();
});

Deno.test("A is drawn within 1 / sqrt(in) by the seed and the path, B is zero", async () => {
  const draw = async (seed: number, blocks?: number[]) => {
    const model = new Toy();
    const adapters = await inject(model, { random: new Random(seed), blocks });
    const drawn = new Map<string, string>();
    for (const [path, { lora_A, lora_B, inFeatures, outFeatures }] of adapters) {
      assertEquals([...lora_A.weight.shape], [2, inFeatures]);
      assertEquals([...lora_B.weight.shape], [outFeatures, 2]);
      assert((await lora_B.weight.data()).every((value) => value === 0));
      const a = await lora_A.weight.data();
      assert(a.every((value) => Math.abs(value) <= 1 / Math.sqrt(inFeatures)));
      assert(Math.max(...a) > 0 && Math.min(...a) < 0);
      drawn.set(path, a.join());
    }
    model.dispose();
    return drawn;
  };
  const first = await draw(1);
  assertEquals(await draw(1), first);
  assertEquals(new Set(first.values()).size, 3, "each layer has an A of its own");
  assert((await draw(2)).get("layers.0.qkv") !== first.get("layers.0.qkv"));
  // Leaving blocks out does not change what the others start from.
  assertEquals((await draw(1, [2])).get("layers.2.qkv"), first.get("layers.2.qkv"));
});

Deno.test("only A and B are trained: the model around them is frozen and gets no gradient", async () => {
  const model = new Toy();
  model.setTrainable(true);
  const adapters = await inject(model);
  assertEquals(
    model.trainableParameters().map(([path]) => path),
    [0, 1, 2].flatMap((i) => [`layers.${i}.qkv.lora_A.weight`, `layers.${i}.qkv.lora_B.weight`]),
  );
  fillB(adapters);
  using _ = new Scope(gpu);
  sum(model.forward(randomTensor("x", 4, 6))).backward();
  for (const [path, tensor] of model.namedParameters()) {
    assertEquals(tensor.grad !== null, path.includes("lora_"), path);
  }
  model.dispose();
});

Deno.test("the update is alpha / rank B A x, on top of the layer", async () => {
  using _ = new Scope(gpu);
  const x = randomTensor("x", 3, 6);
  for (const [rank, alpha] of [[2, undefined], [4, 1], [4, 8]]) {
    const model = new Toy();
    const { qkv } = model.layers[0];
    const plain = await qkv.forward(x).data();
    const adapter = (await inject(model, { r: rank, lora_alpha: alpha ?? rank })).get(
      "layers.0.qkv",
    )!;
    assertEquals(adapter.scaling, (alpha ?? rank!) / rank!);
    fillB(new Map([["", adapter]]));
    const a = await adapter.lora_A.weight.data();
    const b = await adapter.lora_B.weight.data();
    const input = await x.data();
    const expected = plain.map((value, i) => {
      const [row, out] = [Math.floor(i / 18), i % 18];
      for (let r = 0; r < rank!; r++) {
        let h = 0;
        for (let k = 0; k < 6; k++) h += a[r * 6 + k] * input[row * 6 + k];
        value += adapter.scaling * b[out * rank! + r] * h;
      }
      return value;
    });
    const output = adapter.forward(x);
    assertClose(await output.data(), expected, f32Tolerance, `rank ${rank}, alpha ${alpha}`);
    model.dispose();
  }
});

Deno.test("a rank beyond the layer's smaller side is taken as asked for, as PEFT does", async () => {
  const model = new Toy();
  const adapters = await inject(model, { r: 40 });
  fillB(adapters);
  const { lora_A, lora_B } = adapters.get("layers.1.qkv")!;
  assertEquals([...lora_A.weight.shape], [40, 6]);
  assertEquals([...lora_B.weight.shape], [18, 40]);
  using _ = new Scope(gpu);
  sum(model.forward(randomTensor("x", 4, 6))).backward();
  assert((await lora_A.weight.grad!.data()).some((value) => value !== 0));
  model.dispose();
});

Deno.test("merging folds the update into the weight, unmerging takes it out", async () => {
  const model = new Toy();
  const adapters = await inject(model, { r: 3, lora_alpha: 6 });
  fillB(adapters);
  using _ = new Scope(gpu);
  const x = randomTensor("x", 5, 6);
  const weight = model.layers[0].qkv.weight;
  const original = await weight.data();
  const apart = await model.forward(x).data();

  const all = [...adapters.values()];
  for (const adapter of all) adapter.merge();
  for (const adapter of all) adapter.merge(); // a second time changes nothing
  assert(all.every(({ merged }) => merged));
  assert((await weight.data()).some((value, i) => value !== original[i]));
  assertClose(await model.forward(x).data(), apart, f32Tolerance, "merged");

  for (const adapter of all) adapter.unmerge();
  for (const adapter of all) adapter.unmerge();
  assert(all.every(({ merged }) => !merged));
  assertClose(await weight.data(), original, { atol: 1e-6, rtol: 1e-6 }, "unmerged weight");
  assertClose(await model.forward(x).data(), apart, f32Tolerance, "unmerged");
  model.dispose();
});

Deno.test("a merged layer costs what a plain one costs", async () => {
  using _ = new Scope(gpu);
  const x = randomTensor("x", 5, 6);
  const model = new Toy();
  const dispatches = () => {
    const before = gpu.dispatches;
    model.forward(x);
    return gpu.dispatches - before;
  };
  const plain = dispatches();
  const adapters = await inject(model);
  assert(dispatches() > plain);
  for (const adapter of adapters.values()) adapter.merge();
  assertEquals(dispatches(), plain);
  model.dispose();
});

Deno.test("dropout thins the update in training alone, differently each time, by the seed", async () => {
  using _ = new Scope(gpu);
  const x = randomTensor("x", 64, 6);
  const outputs = async (seed: number, training: boolean, p = 0.5) => {
    const model = new Toy();
    const adapters = await inject(model, { lora_dropout: p, random: new Random(seed) });
    fillB(adapters);
    // A the same for every seed, so that only the dropout differs.
    for (const { lora_A: { weight } } of adapters.values()) {
      weight.write(new Float32Array(weight.size).fill(0.3));
    }
    for (const adapter of adapters.values()) adapter.training = training;
    const results = [];
    for (let i = 0; i < 2; i++) results.push((await model.forward(x).data()).join());
    model.dispose();
    return results;
  };
  const [evaluated, again] = await outputs(1, false);
  assertEquals(again, evaluated);
  assertEquals(await outputs(2, false, 0), [evaluated, evaluated]);
  const trained = await outputs(1, true);
  assert(trained[0] !== evaluated && trained[1] !== trained[0]);
  assertEquals(await outputs(1, true), trained, "the same seed drops the same elements");
  assert((await outputs(2, true))[0] !== trained[0]);
});

Deno.test("dropout leaves the expected update, and the frozen path, as they are", async () => {
  using _ = new Scope(gpu);
  const model = new Toy();
  const adapter = (await inject(model, { lora_dropout: 0.25 })).get("layers.0.qkv")!;
  adapter.training = true;
  const x = Tensor.from(gpu, new Float32Array(4096 * 6).fill(1), [4096, 6]);
  const plain = await new Linear(gpu, adapter).forward(x).data();
  assertEquals(await adapter.forward(x).data(), plain, "with B = 0");
  fillB(new Map([["", adapter]]));
  const noisy = await adapter.forward(x).data();
  adapter.training = false;
  const clean = await adapter.forward(x).data();
  let update = 0;
  let mean = 0;
  for (let row = 0; row < 4096; row++) {
    mean += noisy[row * 18] / 4096;
    update = clean[row * 18];
  }
  // Six inputs kept with chance 3/4: the mean of 4096 rows is within a few hundredths of the update.
  const effect = update - plain[0];
  assert(Math.abs(mean - update) < 0.1 * Math.abs(effect), `${mean}, not ${update}`);
  model.dispose();
});

const sizes = [
  { lead: [1], inp: 1, out: 1, rank: 1 },
  { lead: [2, 3], inp: 5, out: 7, rank: 3 },
  { lead: [1, 1], inp: 8, out: 4, rank: 2 },
  { lead: [9], inp: 4, out: 12, rank: 8 },
  { lead: [2, 2, 2], inp: 3, out: 1, rank: 5 },
];

for (const { lead, inp, out, rank } of sizes) {
  const name = `loraLinear of [${lead}] ${inp} to ${out}, rank ${rank}`;
  Deno.test(`${name}, and its gradients for all weights, match float64`, async () => {
    const inputs = [[...lead, inp], [rank, inp], [out, rank], [out, inp]];
    const op = (x: Tensor, loraA: Tensor, loraB: Tensor, weight: Tensor, bias?: Tensor) =>
      loraLinear(x, { weight, bias: bias ?? null, loraA, loraB, scaling: 1.5 });
    await checkOp(name, { inputs: [...inputs, [out]], op, reference: loraLinear64(1.5) });
    await checkOp(name, { inputs, op, reference: loraLinear64(1.5) });
    // As in training: weight and bias frozen.
    await checkOp(name, {
      inputs: [...inputs, [out]],
      constant: [3, 4],
      op,
      reference: loraLinear64(1.5),
    });
  });
}

Deno.test("loraLinear names shapes that do not fit", () => {
  using _ = new Scope(gpu);
  const [weight, loraA, loraB] = [
    randomTensor("w", 4, 6),
    randomTensor("a", 2, 6),
    randomTensor("b", 4, 2),
  ];
  assertThrows(
    () => loraLinear(randomTensor("x", 3, 5), { weight, bias: null, loraA, loraB, scaling: 1 }),
    Error,
    "loraLinear: x [3, 5], weight [4, 6], A [2, 6] and B [4, 2] do not fit",
  );
  assertThrows(
    () =>
      loraLinear(randomTensor("x", 3, 6), {
        weight,
        bias: null,
        loraA,
        loraB: randomTensor("b", 4, 3),
        scaling: 1,
      }),
    Error,
    "do not fit",
  );
});
