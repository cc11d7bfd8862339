// Two commits compared by what their commands come to:
//   deno run -A tests/compare.ts record CHECKOUT OUT [--only A,B]   runs every job with one checkout
//   deno run -A tests/compare.ts diff OUT_A OUT_B                   lists the figures that differ
// A job is a tiny study, or a command on one, by the options that both checkouts spell alike. Wall
// times, dates, paths and versions are left out of the comparison; trained weights count by their hash.
import { parseArgs } from "@std/cli/parse-args";
import { gunzipSync } from "node:zlib";
import { createHash } from "node:crypto";
import { basename, join, relative, resolve } from "node:path";
import { sweeps } from "../experiments/sweeps/mod.ts";
import { tinyDataset } from "./experiments/tiny_dataset.ts";

/** Options of every tiny study. */
const TINY = "--side 64 --epochs 2 --batch-size 2 --data data";

/** A study of one rank. */
const RANK = `experiments ${TINY} --ranks 4`;

/** Commands by job; the folder of a study is the job's name. */
const JOBS: Readonly<Record<string, string>> = {
  rows: `${RANK} --baselines vanilla,peft,full --wise-ft 0.5`,
  prompts: `${RANK} --prompt-mix tight-box=0.3,jittered-box=0.3,point=0.2,whole-image=0.2 ` +
    `--prompts-per-step 2 --prompt-iterations 2 --validation-prompt whole-image`,
  averages: `${RANK} --ema 0.9 --keep last --no-early-stopping --patience 1 --pretrained-lr 1e-4 ` +
    `--save-modules mask_decoder`,
  augment: `${RANK} --augment all --augment-variants 2`,
  optimizer: `${RANK} --optimizer adamw --weight-decay 0.1 --schedule constant --warmup 1 ` +
    `--max-grad-norm 0.5 --gradient-accumulation-steps 2 --dropout 0.1`,
  memory: `${RANK} --storage f16 --checkpoint-activations --cache-memory 0`,
  dora: `${RANK} --baselines vanilla --variants dora,rslora`,
  pissa: `${RANK} --baselines vanilla --init pissa --targets attn.proj,mlp.fc1 --blocks 8,9`,
  parts: `${RANK} --baselines vanilla --qkv-parts q,v --init gaussian --alpha 8`,
  slices: `${RANK} --crop 28 --rescale zscore --min-tumour 5 --max-slices 1 --seed 3 ` +
    `--split-seed 1 --split 0.4,0.2,0.4`,
  folds: `${RANK} --folds 2 --seeds 0,1 --epochs 1`,
  alone: `experiment lora_8 ${TINY}`,
  ...Object.fromEntries(
    Object.keys(sweeps).map((
      name,
    ) => [`sweep_${name}`, `experiments ${TINY} --sweep ${name} --epochs 1`]),
  ),
  evaluate: `evaluate meningioma --data data ` +
    `--out evaluate/evaluated.json`,
};

/** Fields that are of the time, the place or the version, not of the result. */
const VOLATILE =
  /(^|[._])(seconds|trainSeconds|secondsPerStep|peakGpuBytes|date|command|code|environment|milliseconds)$/i;

const decoder = new TextDecoder();

/** Runs jobs with a checkout and keeps what they leave in OUT. */
async function record(checkout: string, out: string, only: readonly string[]): Promise<void> {
  await Deno.mkdir(out, { recursive: true });
  if (!await Deno.stat(join(out, "data")).catch(() => null)) {
    const folder = await tinyDataset(8);
    await Deno.rename(join(folder, "data"), join(out, "data")).catch(async () => {
      await new Deno.Command("cp", { args: ["-r", join(folder, "data"), out] }).output();
    });
  }
  for (const [name, command] of Object.entries(JOBS)) {
    if (only.length > 0 && !only.includes(name)) continue;
    await Deno.remove(join(out, name), { recursive: true }).catch(() => {});
    const started = performance.now();
    const [task, ...args] = command.split(" ");
    if (task === "evaluate") {
      args[0] = join(resolve(checkout), args[0]);
      await Deno.mkdir(join(out, name), { recursive: true });
    } else args.push("--out", name);
    const { code, stdout, stderr } = await new Deno.Command(join(resolve(checkout), "run"), {
      args: [task, ...args],
      cwd: out,
      env: { SAMLORA_CACHE: resolve(out, "cache"), NO_COLOR: "1" },
    }).output();
    await Deno.writeTextFile(
      join(out, `${name}.log`),
      `exit code ${code}\n` + decoder.decode(stdout) + decoder.decode(stderr),
    );
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`${name}: exit code ${code}, ${seconds} s`);
  }
}

/** Every figure of a job's folder by file and path within it. */
async function figuresOf(folder: string): Promise<Map<string, string>> {
  const figures = new Map<string, string>();
  const put = (path: string, value: unknown) => {
    if (VOLATILE.test(path)) return;
    if (value !== null && typeof value === "object") {
      for (const [key, inner] of Object.entries(value)) put(`${path}.${key}`, inner);
    } else if (value !== undefined) figures.set(path, JSON.stringify(value));
  };
  for await (const path of filesOf(folder)) {
    const name = relative(folder, path);
    const bytes = await Deno.readFile(path);
    if (/\.safetensors$/.test(name)) put(name, tensorHash(bytes));
    else if (/\.json$/.test(name)) put(name, JSON.parse(decoder.decode(bytes)));
    else if (/\.json\.gz$/.test(name)) put(name, JSON.parse(decoder.decode(gunzipSync(bytes))));
  }
  return figures;
}

/** SHA-256 of the tensors of a safetensors file, whatever else it says. */
function tensorHash(bytes: Uint8Array): string {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const { __metadata__: _, ...header } = JSON.parse(decoder.decode(bytes.slice(8, 8 + length)));
  return createHash("sha256").update(JSON.stringify(header)).update(bytes.slice(8 + length))
    .digest("hex");
}

async function* filesOf(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* filesOf(join(folder, name));
    else yield join(folder, name);
  }
}

/** Lists what differs between two folders of jobs. */
async function diff(a: string, b: string): Promise<boolean> {
  let same = true;
  for (const name of Object.keys(JOBS)) {
    const [before, after] = [join(a, name), join(b, name)];
    const exist = await Promise.all(
      [before, after].map((path) => Deno.stat(path).then(() => true, () => false)),
    );
    if (!exist[0] || !exist[1]) {
      if (exist[0] !== exist[1]) {
        console.log(`${name}: only in ${exist[0] ? basename(a) : basename(b)}`);
      }
      continue;
    }
    const [old, now] = await Promise.all([figuresOf(before), figuresOf(after)]);
    const changed = [...old].filter(([key, value]) => now.has(key) && now.get(key) !== value);
    const gone = [...old.keys()].filter((key) => !now.has(key));
    const added = [...now.keys()].filter((key) => !old.has(key));
    const equal = old.size - changed.length - gone.length;
    console.log(
      `${name}: ${equal} equal, ${changed.length} differ, ${gone.length} gone, ${added.length} new`,
    );
    if (changed.length + gone.length > 0) same = false;
    for (const [key, value] of changed.slice(0, 8)) {
      console.log(`  ${key}: ${value} -> ${now.get(key)}`);
    }
    for (const key of gone.slice(0, 4)) console.log(`  gone: ${key}`);
  }
  return same;
}

const { _: [verb, ...rest], only } = parseArgs(Deno.args, { string: ["only", "_"] });
const [first, second] = rest.map(String);
if (verb === "record" && second) {
  await record(first, second, only?.split(",") ?? []);
} else if (verb === "diff" && second) {
  if (!await diff(first, second)) Deno.exit(1);
} else {
  console.error("usage: tests/compare.ts record CHECKOUT OUT [--only A,B] | diff OUT_A OUT_B");
  Deno.exit(2);
}
