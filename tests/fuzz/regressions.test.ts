/**
 * Faults that hostile files caused before they were mended, by name; most were found by the kinds of this folder.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { officialWeights } from "../../lib/sam/official_weights.ts";
import { join } from "node:path";
import { crc32, gzipSync } from "node:zlib";
import { ownWeights, readOrigin } from "../../lib/study/adapter.ts";
import { DEFAULTS, parseConfig } from "../../lib/study/schema.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { StudyFolder } from "../../lib/study/folder.ts";
import { Manifest } from "../../lib/study/manifest.ts";
import { readRecords } from "../../lib/study/records.ts";
import { TaskFiles } from "../../lib/study/task_files.ts";
import { openDataset } from "../../lib/data/dataset.ts";
import { openSlices } from "../../lib/data/slices.ts";
import { InputError } from "../../lib/errors.ts";
import { hostWeights, readWeights } from "../../lib/nn/weight_source.ts";
import { adapterParts, createAdapter } from "../../lib/adapters/adapter.ts";
import { newAdapterConfig, parseAdapterConfig } from "../../lib/adapters/config.ts";
import { parseSafetensors } from "../../lib/formats/safetensors.ts";
import { addWeightedAdapter } from "../../lib/adapters/weighted_adapter.ts";
import { tinyDataset } from "../experiments/tiny_dataset.ts";
import { tinyFiles } from "../report/tiny_study.ts";

const fixtures = join(import.meta.dirname!, "..", "formats", "fixtures");

/** Reads a file with these bytes. */
async function niftiOf(bytes: Uint8Array) {
  const path = await Deno.makeTempFile({ suffix: ".nii" });
  try {
    await Deno.writeFile(path, bytes);
    return await readNifti(path);
  } finally {
    await Deno.remove(path);
  }
}

/** A fixture with a changed header. */
async function changed(name: string, change: (view: DataView) => void) {
  const bytes = await Deno.readFile(join(fixtures, name));
  change(new DataView(bytes.buffer));
  return await niftiOf(bytes);
}

Deno.test("a NIfTI-2 file of an unknown type is refused by its type, not by an error of ours", async () => {
  const error = await assertRejects(
    () => changed("int16_nifti2_little.nii", (view) => view.setInt16(12, 1536, true)),
    InputError,
    "has voxels of NIfTI datatype 1536",
  );
  assert(!/function/.test(error.message));
});

Deno.test("an affine that is NaN, or infinite in float32, is refused", async () => {
  for (const value of [NaN, Infinity]) {
    await assertRejects(
      () => changed("uint8_nifti1_little.nii", (view) => view.setFloat32(280, value, true)),
      InputError,
      "affine that is not finite",
    );
  }
  await assertRejects(
    () => changed("int16_nifti2_little.nii", (view) => view.setFloat64(400, 1e300, true)),
    InputError,
    "affine that is not finite",
  );
});

Deno.test("a voxel size too small for float32 counts as none", async () => {
  const { spacing, affine } = await changed("int16_nifti2_little.nii", (view) => {
    view.setInt32(344, 0, true);
    view.setInt32(348, 0, true);
    view.setFloat64(112, 1e-300, true); // pixdim[1]
  });
  assertEquals([spacing[0], affine[0]], [1, 1]);
});

Deno.test("a volume is written with its affine whatever the codes of its forms are", async () => {
  const path = await Deno.makeTempFile({ suffix: ".nii" });
  for (const [qform, sform] of [[2, -1], [-1, 0x10000], [0x10000, 0], [0x10000, -5]]) {
    const volume = await changed("int16_nifti2_little.nii", (view) => {
      view.setInt32(344, qform, true);
      view.setInt32(348, sform, true);
    });
    await writeNifti(path, volume, { datatype: "int16" });
    const { affine } = await readNifti(path);
    assertEquals(affine, volume.affine, `${qform}, ${sform}`);
  }
  await Deno.remove(path);
});

Deno.test("a quaternion that is not used may be NaN", async () => {
  const { affine } = await changed("uint8_nifti1_little.nii", () => {});
  const same = await changed("uint8_nifti1_little.nii", (view) => view.setFloat32(256, NaN, true));
  assertEquals(same.affine, affine);
});

/** A header of 8-bit voxels before so many zeros, compressed. */
async function bomb(dims: readonly number[], zeros: number): Promise<Uint8Array> {
  const file = (await Deno.readFile(join(fixtures, "uint8_nifti1_little.nii"))).subarray(0, 352);
  const view = new DataView(file.buffer);
  dims.forEach((length, i) => view.setInt16(42 + 2 * i, length, true));
  const content = new Uint8Array(352 + zeros);
  content.set(file);
  return new Uint8Array(gzipSync(content));
}

/** Bytes of the largest array of bytes or floats that is made meanwhile. */
async function largestArray(work: () => Promise<unknown>): Promise<number> {
  const { Uint8Array, Float32Array } = globalThis;
  let largest = 0;
  const watched = <T extends typeof Uint8Array | typeof Float32Array>(type: T): T =>
    new Proxy(type, {
      construct: (target, args, made) => {
        const array = Reflect.construct(target, args, made);
        largest = Math.max(largest, array.byteLength);
        return array;
      },
    });
  Object.assign(globalThis, {
    Uint8Array: watched(Uint8Array),
    Float32Array: watched(Float32Array),
  });
  try {
    await work();
    return largest;
  } finally {
    Object.assign(globalThis, { Uint8Array, Float32Array });
  }
}

Deno.test("a .nii.gz that promises a thousand times its size is refused without the memory", async () => {
  const bytes = await bomb([1024, 512, 100], 2 ** 20);
  const padded = new Uint8Array(2 ** 17); // so that DEFLATE could hold what is promised
  padded.set(bytes);
  const largest = await largestArray(() =>
    assertRejects(() => niftiOf(padded), InputError, "of the 52429152 bytes its header promises")
  );
  assert(largest >= padded.length && largest < 2 ** 24, `${largest} bytes`);
});

Deno.test("a volume of more than 2^29 voxels is refused, compressed or not", async () => {
  const bytes = await bomb([1024, 1024, 513], 2 ** 20);
  const padded = new Uint8Array(2 ** 20);
  padded.set(bytes);
  await assertRejects(() => niftiOf(padded), InputError, "more than the 536870912 that are read");
});

Deno.test("a name of a case is not printed with its control characters", async () => {
  const root = await Deno.makeTempDir();
  await Deno.mkdir(join(root, "A\u001b[31m\n"));
  await Deno.writeTextFile(join(root, "A\u001b[31m\n", "x.nii"), "");
  const error = await assertRejects(() => openDataset(root), InputError, "control characters");
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x1f]/.test(error.message));
  await Deno.remove(root, { recursive: true });
});

/** A safetensors file with this header and nothing else. */
function headerOnly(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const file = new Uint8Array(8 + text.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

Deno.test("a tensor without a type, or with a nest of lists for one, is refused in a sentence", () => {
  const deep = "[".repeat(200_000) + "]".repeat(200_000);
  for (const type of ["", `"dtype":${deep},`]) {
    assertThrows(
      () =>
        parseSafetensors(headerOnly(`{"a":{${type}"shape":[],"data_offsets":[0,0]}}`), {
          source: "x",
        }),
      InputError,
      'tensor "a" has no type',
    );
  }
});

Deno.test("a safetensors header that names a tensor or a field twice is refused", () => {
  const tensor = `{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`;
  const twice = [
    [`{"a":${tensor},"b":${tensor},"a":${tensor}}`, "a"],
    [`{"a":${tensor},"\\u0061":${tensor}}`, "a"],
    [`{"a":{"shape":[3],"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, "shape"],
    [`{"__metadata__":{"x":"1","x" : "2"}}`, "x"],
  ];
  for (const [json, name] of twice) {
    const says = `its header names "${name}" twice`;
    assertThrows(() => parseSafetensors(headerOnly(json), { source: "x" }), InputError, says);
  }
  // The same word as a value, within another name or in another object is no second key.
  const sound = `{"__metadata__":{"a":"a","\\"a\\":":"b"},"a":${tensor},"b":${tensor}}`;
  assertEquals([...parseSafetensors(headerOnly(sound), { source: "x" }).tensors.keys()], [
    "a",
    "b",
  ]);
});

const config = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["qkv"] };

Deno.test("an adapter's config is refused by its file's name for what it lacks or nests or repeats", () => {
  const deep = JSON.parse("[".repeat(5000) + "]".repeat(5000));
  const cases: [object, string][] = [
    [{ r: undefined }, "r is not valid (it is missing)"],
    [{ fan_in_fan_out: deep }, "sets fan_in_fan_out to a list or an object"],
    [{ target_modules: "(a+)+$" }, "may take forever"],
    [{ exclude_modules: "(a+)+$" }, "may take forever"],
    [{ modules_to_save: ["(a+)+$"] }, "may take forever"],
    [{ layers_pattern: ["(a+)+$"] }, "may take forever"],
    [{ rank_pattern: { "(a+)+$": 4 } }, "may take forever"],
    [{ alpha_pattern: { "(a+)+$": 4 } }, "may take forever"],
    [{ modules_to_save: [".*.*.*.*x"] }, "may take forever"],
    [{ target_modules: ".*.*.*.*.*.*x" }, "may take forever"],
    [{ rank_pattern: { ".*a.*b.*c.*d.*x": 4 } }, "may take forever"],
    [{ target_modules: "x".repeat(300_000) }, "has 300000 letters"],
  ];
  for (const [fields, says] of cases) {
    const text = JSON.stringify({ ...config, ...fields });
    const error = assertThrows(
      () => parseAdapterConfig(text, { source: "x.json" }),
      InputError,
      says,
    );
    assert(error.message.startsWith("x.json") && error.message.length < 500, error.message);
  }
});

Deno.test("a sum of adapters takes the memory of their tensors, whatever rank their config names", () => {
  const adapter = (r: number, inFeatures: number, pattern = {}) =>
    createAdapter(
      newAdapterConfig({
        peft_type: "LORA",
        r,
        lora_alpha: 1,
        target_modules: ["a"],
        rank_pattern: pattern,
      }),
      new Map([
        ["a.lora_A.weight", { shape: [2, inFeatures], data: new Float32Array(2 * inFeatures) }],
        ["a.lora_B.weight", { shape: [3, 2], data: new Float32Array(6) }],
      ]),
      { source: "x" },
    );
  for (const hostile of [adapter(2 ** 40, 4), adapter(2, 4, { other: 2 ** 40 })]) {
    const sum = addWeightedAdapter([hostile], { weights: [1], combination_type: "cat" });
    assertEquals(sum.config!.r, 2);
  }
  const wide = adapter(2, 2 ** 20);
  assertThrows(
    () =>
      addWeightedAdapter(Array(40).fill(wide), {
        weights: Array(40).fill(1),
        combination_type: "cat",
      }),
    InputError,
    "too many for the sum's rank of 80",
  );
});

Deno.test("an adapter of no features, or with control characters in a name, is refused in a sentence", () => {
  const tensor = (shape: number[]) => ({ shape, data: new Float32Array(0) });
  const empty = createAdapter(
    null,
    new Map([["a.lora_A.weight", tensor([9e15, 0])], ["a.lora_B.weight", tensor([0, 9e15])]]),
    { source: "x" },
  );
  assertThrows(() => adapterParts(empty), InputError, "is no Linear");
  const named = createAdapter(null, new Map([["a\n.lora_x", tensor([0])]]), { source: "x" });
  const error = assertThrows(() => adapterParts(named), InputError, "not of an adapted Linear");
  assert(!error.message.includes("\n"));
});

Deno.test("weights that do not fit together are left as they are, and none grow quadratically", async () => {
  const source = (tensors: Record<string, number[]>) =>
    officialWeights(hostWeights(
      new Map(
        Object.entries(tensors).map(([name, shape]) => [name, {
          shape,
          data: new Float32Array(shape.reduce((product, length) => product * length, 1)),
        }]),
      ),
      "x",
    ));
  const attn = "image_encoder.blocks.0.attn";
  const norm = "image_encoder.neck";
  const cases: Record<string, number[]>[] = [
    { "image_encoder.layers.1.blocks.0.attn.attention_biases": [3, 10_000] },
    { [`${attn}.q.weight`]: [4, 4], [`${attn}.k.weight`]: [2, 4], [`${attn}.v.weight`]: [4, 4] },
    { [`${attn}.q.bias`]: [], [`${attn}.k.bias`]: [], [`${attn}.v.bias`]: [] },
    {
      [`${norm}.c.weight`]: [4, 2, 1, 1],
      [`${norm}.bn.weight`]: [3],
      [`${norm}.bn.bias`]: [4],
      [`${norm}.bn.running_mean`]: [4],
      [`${norm}.bn.running_var`]: [4],
    },
  ];
  for (const tensors of cases) {
    const read = await readWeights(source(tensors));
    assertEquals([...read.keys()].sort(), Object.keys(tensors).sort());
  }
});

Deno.test("a run's experiment is one that can be rebuilt, or is refused", async () => {
  const experiment = adapterExperiment(4, DEFAULTS);
  const config = DEFAULTS;
  const split = { seed: 1, train: ["a"], validation: ["b"], test: ["c"] };
  const originOf = (value: unknown) => {
    const metadata = { samlora_run: JSON.stringify(value) };
    return readOrigin("nowhere", { config: null, tensors: new Map(), metadata, source: "nowhere" });
  };
  const others = [{ rank: -5 }, { rank: 0 }, { rank: 2 ** 40 }, { name: 3 }, { name: {} }, {
    x: 1,
  }];
  for (const change of [...others, { kind: "vanilla" }]) {
    const changed = { experiment: { ...experiment, ...change }, config, split };
    await assertRejects(() => originOf(changed), InputError, "nowhere is damaged (experiment");
  }
  const both = { ...split, test: ["a"] };
  await assertRejects(
    () => originOf({ experiment, config, split: both }),
    InputError,
    "a patient is in more than one part",
  );
  const found = await originOf({ experiment, config: { ...config, flip: undefined }, split });
  assertThrows(
    () => parseConfig(found!.config, "nowhere"),
    InputError,
    "flip is not valid (it is missing)",
  );
});

Deno.test("a file that a run's config names is not opened on its word", () => {
  const config = DEFAULTS;
  assertEquals(ownWeights("run", config), null);
  assertEquals(ownWeights("run", null), null);
  assertThrows(
    () => ownWeights("run", { ...config, weights: "../../secret.pth" }),
    InputError,
    "name that file with --weights",
  );
});

Deno.test("a slice file with a sound checksum and an unsound index is made again", async () => {
  const folder = await tinyDataset(1);
  const dataset = await openDataset(join(folder, "data"));
  const cache = join(folder, "cache");
  const truth = await openSlices(dataset, { cache });
  const expected = await truth.read(truth.refs[0]);
  const inner = join(cache, [...Deno.readDirSync(cache)][0].name);
  const path = join(inner, [...Deno.readDirSync(inner)][0].name);
  const sound = await Deno.readFile(path);
  const length = new DataView(sound.buffer).getUint32(0, true);
  // deno-lint-ignore no-explicit-any
  const changes: ((index: any) => void)[] = [
    (index) => index.extra = null,
    (index) => index.extra.slices = {},
    (index) => index.extra.slices.pop(),
    (index) => index.extra.slices[0].index = -1,
    (index) => index.extra.slices[0].width = 7,
    (index) => index.extra.slices[0].spacing = [1, 0],
    (index) => index.extra.crop.lostVoxels = "many",
    (index) => index.slices[0].pixels = 2 ** 40,
    (index) => index.slices[0].offset = 4,
    (index) => index.slices[0].checksum = 1,
    (index) => index.slices[0] = null,
    (index) => index.slices = 3,
  ];
  for (const change of changes) {
    const index = JSON.parse(new TextDecoder().decode(sound.subarray(8, 8 + length)));
    change(index);
    const json = new TextEncoder().encode(JSON.stringify(index));
    const forged = new Uint8Array(8 + json.length + sound.length - 8 - length);
    new DataView(forged.buffer).setUint32(0, json.length, true);
    new DataView(forged.buffer).setUint32(4, crc32(json), true);
    forged.set(json, 8);
    forged.set(sound.subarray(8 + length), 8 + json.length);
    await Deno.writeFile(path, forged);
    const { refs, read } = await openSlices(dataset, { cache });
    assertEquals(refs, truth.refs, String(change));
    assertEquals(await read(refs[0]), expected, String(change));
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("an empty split of a config is refused as any other", () => {
  const config = { ...DEFAULTS, split: [] };
  assertThrows(() => parseConfig(config, "config.json"), InputError, "split is not valid");
});

Deno.test("what a run left for the study to go on with is refused where it is not ours", async () => {
  const folder = await Deno.makeTempDir();
  using study = await StudyFolder.create(folder);
  const task = new TaskFiles(study, "", "lora_4");
  const [run] = JSON.parse(new TextDecoder().decode((await tinyFiles())["runs.json"]));
  const step = JSON.stringify({ ...run, guard: { guard: "non-finite", step: 0, message: "x" } });
  await study.write("lora_4/run.json", step.replace('"step":0', '"step":1e999'));
  await assertRejects(() => task.readRun(), InputError, "run.json is damaged");
  await study.write("lora_4/records.json.gz", "x");
  await Deno.writeTextFile(join(folder, "lora_4", "run.json"), "{}");
  await assertRejects(() => task.isFinished(), InputError, "run.json (row lora_4) was changed");
  const path = join(folder, "manifest.json");
  const sound = await Deno.readTextFile(path);
  for (const text of ["[1]", "null", '{"files": {"lora_4/run.json": 0}}']) {
    await Deno.writeTextFile(path, text);
    await assertRejects(() => Manifest.open(folder), InputError, "manifest.json is damaged");
  }
  await Deno.writeTextFile(path, sound.replace("lora_4/run.json", "lora_5/run.json"));
  await assertRejects(() => Manifest.open(folder), InputError, "manifest.json was changed");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("scores that unpack to far more than scores do are refused", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeFile(path, gzipSync(new Uint8Array(2 ** 24)));
  await assertRejects(() => readRecords(path), InputError, "is damaged");
  await Deno.remove(path);
});
