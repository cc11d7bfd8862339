import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { Linear } from "../../lib/nn/linear.ts";
import { unmergeResidual } from "../../lib/adapters/adapter_layer.ts";
import { injectLora, LoraLinear, type LoraOptions } from "../../lib/adapters/lora.ts";
import { isTarget, patternValue } from "../../lib/adapters/targets.ts";
import { Module } from "../../lib/nn/module.ts";
import { QkvLinear } from "../../lib/nn/qkv_linear.ts";
import { Random } from "../../lib/random.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { gpu } from "../gpu.ts";
import { assertClose, f32Tolerance } from "../ops/check.ts";

const DIM = 8;

class Attn extends Module {
  readonly qkv: Linear;
  readonly proj: Linear;

  constructor(heads: number | null) {
    super(gpu);
    this.qkv = heads
      ? new QkvLinear(gpu, { dim: DIM, heads })
      : new Linear(gpu, { inFeatures: DIM, outFeatures: 3 * DIM });
    this.proj = new Linear(gpu, { inFeatures: DIM, outFeatures: DIM });
  }
}

class Block extends Module {
  constructor(readonly attn: Attn) {
    super(gpu);
  }
}

class Encoder extends Module {
  readonly blocks: Block[];

  constructor(heads: number | null) {
    super(gpu);
    this.blocks = Array.from({ length: 3 }, () => new Block(new Attn(heads)));
  }
}

/** Three blocks and a decoder, with rows of qkv in thirds or per head. */
class Toy extends Module {
  readonly imageEncoder: Encoder;
  readonly maskDecoder: Attn;

  constructor(heads: number | null = null) {
    super(gpu);
    this.imageEncoder = new Encoder(heads);
    this.maskDecoder = new Attn(null);
    const random = new Random("toy");
    for (const [, tensor] of this.namedParameters()) {
      tensor.write(Float32Array.from({ length: tensor.size }, () => 0.5 * random.normal()));
    }
  }
}

function inject(model: Module, options: LoraOptions): Promise<Map<string, LoraLinear>> {
  return injectLora(model, { random: new Random(1), ...options });
}

function randomTensor(seed: string, ...shape: number[]): Tensor {
  const random = new Random(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.from(gpu, Float32Array.from({ length: size }, () => random.normal()), shape);
}

const qkv = (...blocks: number[]) => blocks.map((i) => `image_encoder.blocks.${i}.attn.qkv`);

Deno.test("targets, layers and exclusions choose what peft chooses", async () => {
  const chosen = async (options: LoraOptions) => {
    const model = new Toy();
    const paths = [...(await inject(model, options)).keys()];
    model.dispose();
    return paths;
  };
  assertEquals(await chosen({}), qkv(0, 1, 2));
  assertEquals(await chosen({ target_modules: ["qkv"] }), [...qkv(0, 1, 2), "mask_decoder.qkv"]);
  assertEquals(await chosen({ target_modules: ".*blocks\\.[02]\\.attn\\.qkv" }), qkv(0, 2));
  assertEquals(await chosen({ target_modules: "(?P<part>.*)_encoder.*\\.qkv" }), qkv(0, 1, 2));
  assertEquals(await chosen({ target_modules: "(?i).*BLOCKS\\.1\\.attn\\.QKV" }), qkv(1));
  assertEquals(await chosen({ target_modules: "\\A.*blocks\\.[+*(0].attn.qkv\\Z" }), qkv(0));
  assertEquals(await chosen({ target_modules: ".*s\\.(?P<n>[12])\\.attn\\.qkv" }), qkv(1, 2));
  assertEquals(await chosen({ target_modules: ".*blocks.\\d{,1}.attn.qkv" }), qkv(0, 1, 2));
  assertEquals(await chosen({ target_modules: "(?:image_encoder\\.)?.*s\\.0.*qkv" }), qkv(0));
  assertEquals(await chosen({ layers_to_transform: 1 }), qkv(1));
  assertEquals(
    await chosen({
      target_modules: ["qkv"],
      layers_to_transform: [2, 0],
      layers_pattern: "blocks",
    }),
    qkv(0, 2),
  );
  assertEquals(await chosen({ exclude_modules: ["1.attn.qkv"] }), qkv(0, 2));
  assertEquals(await chosen({ exclude_modules: ".*\\.0\\..*" }), qkv(1, 2));
  assertEquals(
    await chosen({ target_modules: ["qkv"], modules_to_save: ["mask_decoder"] }),
    qkv(0, 1, 2),
  );
  assertEquals((await chosen({ target_modules: "all-linear" })).length, 8);
  // The first number behind two names counts, not the last.
  const nested = { target_modules: ["qkv"], layers_to_transform: [1] };
  assert(isTarget("image_encoder.layers.1.blocks.0.attn.qkv", nested));
  assert(!isTarget("image_encoder.layers.0.blocks.1.attn.qkv", nested));
  assert(!isTarget("layers.1.attn.qkv", nested));
});

Deno.test("patterns give layers ranks and alphas of their own, the first that matches", async () => {
  const model = new Toy();
  const layers = await inject(model, {
    r: 2,
    lora_alpha: 6,
    target_modules: ["attn.qkv", "attn.proj"],
    rank_pattern: { "blocks\\.1\\.attn\\.qkv": 5, "attn.qkv": 3 },
    alpha_pattern: { proj: 1 },
    use_rslora: true,
  });
  const sizes = [...layers].map(([path, { rank, scaling }]) => [path.slice(21), rank, scaling]);
  assertEquals(sizes, [
    ["0.attn.qkv", 3, 6 / Math.sqrt(3)],
    ["0.attn.proj", 2, 1 / Math.sqrt(2)],
    ["1.attn.qkv", 5, 6 / Math.sqrt(5)],
    ["1.attn.proj", 2, 1 / Math.sqrt(2)],
    ["2.attn.qkv", 3, 6 / Math.sqrt(3)],
    ["2.attn.proj", 2, 1 / Math.sqrt(2)],
  ]);
  model.dispose();
  assertEquals(patternValue("a.kqkv", { qkv: 3 }), undefined);
});

Deno.test("modules to save are trained beside the adapters, all else is frozen", async () => {
  const model = new Toy();
  await inject(model, { modules_to_save: ["mask_decoder"] });
  assertEquals(model.trainableParameters().map(([path]) => path).sort(), [
    ...qkv(0, 1, 2).flatMap((path) => [`${path}.lora_A.weight`, `${path}.lora_B.weight`]),
    "mask_decoder.proj.bias",
    "mask_decoder.proj.weight",
    "mask_decoder.qkv.bias",
    "mask_decoder.qkv.weight",
  ]);
  model.dispose();
});

for (const heads of [null, 2]) {
  const layout = heads ? "rows per head" : "thirds";
  Deno.test(`adapters on q and v alone leave k as it was through training, in ${layout}`, async () => {
    const model = new Toy(heads);
    const layers = await inject(model, { r: 2, lora_alpha: 6, qkv_parts: ["q", "v"] });
    const layer = layers.get(qkv(0)[0])!;
    assertEquals([...layer.lora_A.weight.shape], [4, DIM]);
    assertEquals([...layer.lora_B.weight.shape], [3 * DIM, 4]);
    assertEquals(layer.scaling, 3);
    using x = randomTensor("x", 5, DIM);
    const before = await layer.forward(x).data();
    const parameters = [layer.lora_A.weight, layer.lora_B.weight];
    using optimizer = new Adam(parameters, { weightDecay: 0.1, decoupled: true });
    for (let step = 0; step < 3; step++) {
      using _ = new Scope(gpu);
      const y = layer.forward(x);
      sum(mul(y, y)).backward();
      optimizer.step(0.1);
    }
    const after = await layer.forward(x).data();
    const b = await layer.lora_B.weight.data();
    const width = DIM / (heads ?? 1);
    for (let row = 0; row < 3 * DIM; row++) {
      const part = Math.floor(row / width) % 3;
      assertEquals(after[row] !== before[row], part !== 1, `row ${row}`);
      for (let column = 0; column < 4; column++) {
        const own = part === (column < 2 ? 0 : 2);
        assertEquals(b[4 * row + column] !== 0, own, `B [${row}, ${column}]`);
      }
    }
    layer.merge();
    assertClose(await layer.forward(x).data(), after, f32Tolerance, "merged");
    model.dispose();
  });
}

Deno.test("every start but false leaves the model's output as it is", async () => {
  for (const use_dora of [false, true]) {
    for (const init_lora_weights of [true, false, "gaussian", "pissa", "pissa_niter_4"] as const) {
      const model = new Toy();
      const { qkv: layer } = model.imageEncoder.blocks[1].attn;
      using x = randomTensor("x", 5, DIM);
      const before = await layer.forward(x).data();
      const weight = await layer.weight.data();
      const layers = await inject(model, { r: 3, lora_alpha: 2, init_lora_weights, use_dora });
      const adapter = layers.get(qkv(1)[0])!;
      const name = `${init_lora_weights}${use_dora ? " with DoRA" : ""}`;
      const after = await adapter.forward(x).data();
      if (init_lora_weights === false) {
        // Also with DoRA, whose magnitudes start as the lengths of W + s B A.
        assert(after.some((value, i) => Math.abs(value - before[i]) > 0.01), name);
      } else {
        assertClose(after, before, f32Tolerance, name);
        const b = await adapter.lora_B.weight.data();
        const moved = String(init_lora_weights).startsWith("pissa");
        assertEquals(b.some((value) => value !== 0), moved, name);
        const rest = await adapter.weight.data();
        const norm = (values: Float32Array) => Math.hypot(...values);
        assert(moved ? norm(rest) < 0.9 * norm(weight) : norm(rest) === norm(weight), name);
      }
      model.dispose();
    }
  }
});

Deno.test("DoRA with dropout keeps its expected output", async () => {
  const model = new Toy();
  const layers = await inject(model, { r: 2, use_dora: true, lora_dropout: 0.25 });
  const layer = layers.get(qkv(0)[0])!;
  const random = new Random("B");
  layer.lora_B.weight.write(
    Float32Array.from({ length: layer.lora_B.weight.size }, () => 0.1 * random.normal()),
  );
  const magnitude = layer.lora_magnitude_vector!;
  magnitude.write((await magnitude.data()).map((value) => 1.3 * value));
  using _ = new Scope(gpu);
  const rows = 4096;
  const x = Tensor.from(gpu, new Float32Array(rows * DIM).fill(1), [rows, DIM]);
  const clean = await layer.forward(x).data();
  layer.training = true;
  const noisy = await layer.forward(x).data();
  for (let column = 0; column < 3 * DIM; column++) {
    let mean = 0;
    let spread = 0;
    for (let row = 0; row < rows; row++) {
      const value = noisy[row * 3 * DIM + column];
      mean += value / rows;
      spread += (value - clean[column]) ** 2 / rows;
    }
    assert(spread > 0, `column ${column}: nothing was dropped`);
    const error = Math.abs(mean - clean[column]) / Math.sqrt(spread / rows);
    assert(error < 5, `column ${column} is ${error} standard errors off`);
  }
  model.dispose();
});

Deno.test("merging and unmerging leaves a residual in the last bits alone", async () => {
  for (const use_dora of [false, true]) {
    const model = new Toy();
    const layers = await inject(model, { r: 3, init_lora_weights: false, use_dora });
    const { weight } = layers.get(qkv(2)[0])!;
    const before = await weight.data();
    const residual = await unmergeResidual(model);
    assert(residual < 1e-6, `${residual}`);
    assertEquals(await weight.data(), before);
    model.dispose();
  }
});

Deno.test("options that cannot be cost one sentence and change nothing", async () => {
  const cases: [LoraOptions, RegExp][] = [
    [{ r: 0 }, /rank of 0/],
    [{ rank_pattern: { qkv: 1.5 } }, /rank of 1\.5/],
    [{ lora_dropout: 1 }, /dropout of 1/],
    [{ target_modules: "attn.qkv" }, /attn\.qkv \(a string is a regular expression.*attn\.proj/],
    [{ target_modules: ["query"] }, /no Linear is named query.*: the model has attn\.qkv/],
    [{ target_modules: "(" }, /^target_modules "\(" is not a regular expression/],
    [{ target_modules: "a)(b" }, /^target_modules "a\)\(b" is not a regular expression/],
    [{ target_modules: "(?>a)" }, /^target_modules "\(\?>a\)" is not a regular expression/],
    [{ target_modules: "\\Gqkv" }, /^target_modules "\\Gqkv" is not a regular expression/],
    [{ exclude_modules: "[" }, /^exclude_modules "\[" is not a regular expression/],
    [{ rank_pattern: { "*": 2 } }, /^rank_pattern "\*" is not a regular expression/],
    [{ alpha_pattern: { "a(?i)": 2 } }, /^alpha_pattern "a\(\?i\)" is not a regular expression/],
    [
      { layers_to_transform: 1, layers_pattern: "(" },
      /^layers_pattern "\(" is not a regular expression/,
    ],
    [{ modules_to_save: ["(", "mask_decoder"] }, /no module to save is named \(/],
    [{ target_modules: "(.*)*x" }, /^target_modules "\(\.\*\)\*x" repeats a group/],
    [{ target_modules: "((?:\\w|_)[.]){2,}x" }, /repeats a group/],
    [{ target_modules: ".*.*.*.*.*.*.*x" }, /more than 5 quantifiers/],
    [{ layers_to_transform: [7] }, /no attn\.qkv lies in a layer 7/],
    [{ layers_pattern: "blocks" }, /layers_pattern needs layers_to_transform/],
    [{ target_modules: ".*", layers_to_transform: 1 }, /does not go with a regular expression/],
    [
      { modules_to_save: ["decoder_of_masks"] },
      /decoder_of_masks: the model has image_encoder, mask/,
    ],
    [{ qkv_parts: [] }, /qkv_parts cannot be \[\]/],
    [{ qkv_parts: ["q", "q"] }, /qkv_parts cannot be \[q,q\]/],
    [{ qkv_parts: ["q"], target_modules: ["proj"] }, /needs a target named qkv/],
    [{ qkv_parts: ["q"], use_dora: true }, /leave qkv_parts out/],
    [{ init_lora_weights: "zero" as "gaussian" }, /no initialisation "zero"/],
    [{ blocks: [3] }, /there is no block 3/],
  ];
  const model = new Toy();
  model.setTrainable(true);
  const trainable = model.trainableParameters().length;
  for (const [options, says] of cases) {
    const { message } = await assertRejects(() => inject(model, options), InputError);
    assert(says.test(message), message);
    assert(![...model.namedModules()].some(([, module]) => module instanceof LoraLinear), message);
    assertEquals(model.trainableParameters().length, trainable, message);
  }
  model.dispose();
});
