import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { adapterWeights } from "../../lib/adapters/adapter.ts";
import { unmergeResidual } from "../../lib/adapters/adapter_layer.ts";
import { applyAdapter, collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { injectAdapter } from "../../lib/adapters/inject.ts";
import { loha, type LohaFactors, LohaLinear, lohaUpdate } from "../../lib/adapters/loha.ts";
import { injectLora, lora } from "../../lib/adapters/lora.ts";
import { addWeightedAdapter } from "../../lib/adapters/weighted_adapter.ts";
import { InputError } from "../../lib/errors.ts";
import { Linear } from "../../lib/nn/linear.ts";
import { Random } from "../../lib/random.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { linear } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { wiseFt } from "../../lib/train/wise_ft.ts";
import { gpu } from "../gpu.ts";
import { assertClose, checkOp, f32Tolerance, type Reference } from "../ops/check.ts";
import { linear64 } from "../ops/references/matmul.ts";
import { tinySam } from "./tiny_model.ts";

const [IN, OUT] = [6, 10];

function filled(tensor: Tensor, seed: string): Tensor {
  const random = new Random(seed);
  tensor.write(Float32Array.from({ length: tensor.size }, () => 0.5 * random.normal()));
  return tensor;
}

/** A frozen Linear with an update, as after training unless `start`. */
function adapted(options = {}, { start = false, seed = 1 } = {}): LohaLinear {
  const base = new Linear(gpu, { inFeatures: IN, outFeatures: OUT });
  for (const [path, tensor] of base.namedParameters()) filled(tensor, path);
  const layer = new LohaLinear(base, { rank: 2, alpha: 3 }, { options, random: new Random(seed) });
  if (!start) { for (const [path, tensor] of layer.trainableParameters()) filled(tensor, path); }
  return layer;
}

function ones(rows: number): Tensor {
  return Tensor.from(gpu, new Float32Array(rows * IN).fill(1), [rows, IN]);
}

/** x (W + s (w1_a w1_b) ∘ (w2_a w2_b))ᵀ + b by the definition. */
function loha64(scaling: number) {
  return (x: Reference, w: Reference, b: Reference, ...factors: Reference[]): Reference => {
    const [w1a, w1b, w2a, w2b] = factors;
    const [out, inp] = w.shape;
    const rank = w1a.shape[1];
    const product = (left: Reference, right: Reference, o: number, i: number) => {
      let total = 0;
      for (let r = 0; r < rank; r++) total += left.data[o * rank + r] * right.data[r * inp + i];
      return total;
    };
    const data = w.data.map((value, at) => {
      const [o, i] = [Math.floor(at / inp), at % inp];
      return value + scaling * product(w1a, w1b, o, i) * product(w2a, w2b, o, i);
    });
    return linear64(x, { shape: [out, inp], data }, b);
  };
}

for (const [rows, inp, out, rank] of [[1, 1, 1, 1], [5, 6, 10, 3], [8, 16, 4, 4]]) {
  const name = `LoHa of ${rows} x ${inp} to ${out}, rank ${rank}`;
  Deno.test(`${name}, and its gradients for x and all factors, match float64`, async () => {
    await checkOp(name, {
      inputs: [[rows, inp], [out, inp], [out], [out, rank], [rank, inp], [out, rank], [rank, inp]],
      constant: [1, 2], // as in training: weight and bias frozen
      op: (x, weight, bias, hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b) => {
        const factors: LohaFactors = { hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b };
        return linear(x, add(weight, lohaUpdate(factors, 1.5)), bias);
      },
      reference: loha64(1.5),
    });
  });
}

Deno.test("a layer starts bit-equal to the frozen one, within the bounds of torch's kaiming_uniform", async () => {
  using _ = new Scope(gpu);
  const layer = adapted({}, { start: true });
  const x = filled(Tensor.empty(gpu, [5, IN]), "x");
  assertEquals(await layer.forward(x).data(), await new Linear(gpu, layer).forward(x).data());
  const largest = async (tensor: Tensor) => Math.max(...(await tensor.data()).map(Math.abs));
  assertEquals(await largest(layer.hada_w2_b), 0);
  for (const [factor, columns] of [[layer.hada_w1_a, 2], [layer.hada_w1_b, IN]] as const) {
    const bound = 1 / Math.sqrt(columns);
    const most = await largest(factor);
    assert(most <= bound && most > 0.7 * bound, `${most} of ${bound}`);
  }
  const moved = adapted({ init_weights: false }, { start: true });
  assert(await largest(moved.hada_w2_b) > 0);
  layer.dispose();
  moved.dispose();
});

Deno.test("merging folds the update into the weight, unmerging takes it out", async () => {
  using _ = new Scope(gpu);
  const layer = adapted();
  const x = filled(Tensor.empty(gpu, [5, IN]), "x");
  const apart = await layer.forward(x).data();
  const original = await layer.weight.data();
  layer.merge();
  assertClose(await layer.forward(x).data(), apart, f32Tolerance, "merged");
  layer.unmerge();
  assertClose(await layer.weight.data(), original, { atol: 1e-6, rtol: 1e-6 }, "unmerged");
  assert((await unmergeResidual(layer)) < 1e-6);
  layer.dispose();
});

Deno.test("dropout zeroes rows of the update in training alone, by the seed, and keeps its mean", async () => {
  using _ = new Scope(gpu);
  const updates = async (options: object, passes: number, seed = 1, training = true) => {
    const layer = adapted(options, { seed });
    layer.training = training;
    const frozen = await new Linear(gpu, layer).forward(ones(1)).data();
    const results: Float32Array[] = [];
    for (let i = 0; i < passes; i++) {
      const y = await layer.forward(ones(1)).data();
      results.push(y.map((value, i) => value - frozen[i]));
    }
    layer.dispose();
    return results;
  };
  const [full] = await updates({}, 1);
  assertEquals(await updates({ rank_dropout: 0.5 }, 2, 1, false), [full, full]);
  const thinned = await updates({ rank_dropout: 0.5 }, 40);
  assertEquals(
    await updates({ rank_dropout: 0.5 }, 40),
    thinned,
    "the same seed drops the same rows",
  );
  assert((await updates({ rank_dropout: 0.5 }, 1, 2))[0].join() !== thinned[0].join());
  for (const update of thinned) {
    const count = update.filter((value) => value !== 0).length;
    const expected = update.map((value, i) => value === 0 ? 0 : full[i] * OUT / count);
    assertClose(update, expected, { atol: 1e-5, rtol: 1e-4 }, "rows that stay");
  }
  assert(new Set(thinned.map((update) => update.join())).size > 30, "masks differ");
  const whole = await updates({ module_dropout: 0.5 }, 40);
  const zero = new Float32Array(OUT).join();
  const left = whole.filter((update) => update.join() === zero).length;
  assert(left > 8 && left < 32, `${left} of 40 left out`);
  assertEquals(new Set(whole.map((update) => update.join())), new Set([zero, full.join()]));
});

Deno.test("what was injected and trained comes back by its own config, and only into its method", async () => {
  const model = tinySam("segment_anything");
  const options = { r: 3, alpha: 5, target_modules: ["qkv", "lin1"], blocks: [0, 2] };
  const layers = await injectAdapter(model, loha, { ...options, random: new Random(3) });
  for (const [path, tensor] of model.trainableParameters()) filled(tensor, path);
  const adapter = await collectAdapter(model, options);
  const { peft_type, r, alpha, rank_dropout, lora_alpha } = adapter.config!;
  assertEquals([peft_type, r, alpha, rank_dropout, lora_alpha], ["LOHA", 3, 5, 0, undefined]);
  const other = tinySam("segment_anything");
  const restored = await applyAdapter(other, adapter);
  assertEquals([...restored.keys()], [...layers.keys()]);
  assertEquals((await collectAdapter(other, options)).tensors, adapter.tensors);

  const plain = tinySam("segment_anything");
  await injectLora(plain, { r: 3, random: new Random(0) });
  const foreign = await collectAdapter(plain, {});
  await assertRejects(
    () => applyAdapter(other, { ...foreign, config: adapter.config }),
    InputError,
    "no tensor of a LOHA adapter",
  );
  await assertRejects(
    () => injectAdapter(other, lora, { random: new Random(0) }),
    InputError,
    "adapters already",
  );
  const sum = { weights: [1, 1], combination_type: "cat" } as const;
  assertThrows(() => addWeightedAdapter([adapter, adapter], sum), InputError, "LoHa");
  assertThrows(() => addWeightedAdapter([foreign, adapter], sum), InputError, "LoHa");
  for (const used of [model, other, plain]) used.dispose();

  const trained = adapterWeights(adapter);
  const half = wiseFt({ pretrained: new Map(), trained }, 0.5);
  for (const [name, { data }] of half) {
    const share = name.endsWith("hada_w2_b") ? 0.5 : 1;
    assertEquals(data, trained.get(name)!.data.map((value) => share * value), name);
  }
});

Deno.test("what LoHa does not have is refused by its name", () => {
  const settings = {
    rank: 4,
    alpha: 4,
    dropout: 0,
    variants: [],
    init: "default",
    qkvParts: null,
  };
  assertEquals(loha.options(settings), { r: 4, alpha: 4, rank_dropout: 0 });
  for (
    const [part, says] of [
      [{ variants: ["dora"] }, "LoHa has no dora"],
      [{ init: "pissa" }, "LoHa has no pissa"],
      [{ qkvParts: ["q" as const] }, "LoHa has no qkv parts"],
    ] as const
  ) {
    assertThrows(() => loha.options({ ...settings, ...part }), InputError, says);
  }
  assertThrows(() => loha.check({ module_dropout: 1 }, []), InputError, "a dropout of 1");
});
