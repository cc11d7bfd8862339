import { assert, assertEquals, assertMatch } from "@std/assert";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { join } from "node:path";
import { createVolume } from "../../lib/formats/volume.ts";
import { runCommand } from "./command_line.ts";
import { tinyCase, tinyDataset, tinyFile, tinyShape as shape } from "./tiny_dataset.ts";
import { writeTensors } from "../formats/tensors_file.ts";

const { image, mask } = tinyCase(1);

interface BadInput {
  /** Breaks the data set. */
  readonly damage?: (file: (kind: "t1c" | "seg") => string, folder: string) => Promise<void>;
  /** Options beside --data and --out. */
  readonly args?: readonly string[];
  readonly data?: string;
  readonly out?: string;
  /** Text that the sentence must hold. */
  readonly says: RegExp;
}

const cases: Record<string, BadInput> = {
  "a missing folder": { data: "nowhere", says: /nowhere/ },
  "a case without seg": {
    damage: (file) => Deno.remove(file("seg")),
    says: /TINY-MEN-00001-000.*seg/,
  },
  "a truncated .nii.gz": {
    damage: async (file) => {
      const bytes = await Deno.readFile(file("t1c"));
      await Deno.writeFile(file("t1c"), bytes.subarray(0, bytes.length / 2));
    },
    says: /TINY-MEN-00001-000-t1c\.nii\.gz/,
  },
  "an image and a mask of different shape": {
    damage: async (file) => {
      const cut = createVolume(mask.slice(0, 1024), { shape: [32, 32, 1] });
      await writeNifti(file("seg"), cut, { datatype: "uint8" });
    },
    says: /TINY-MEN-00001-000.*32/,
  },
  "masks that are all empty": {
    damage: async (file) => {
      const empty = createVolume(new Float32Array(mask.length), { shape });
      await writeNifti(file("seg"), empty, { datatype: "uint8" });
      await writeNifti(file("seg").replaceAll("00001", "00002"), empty, { datatype: "uint8" });
    },
    says: /no slice|tumour/,
  },
  "a NaN in a volume": {
    damage: async (file) => {
      const plain = file("t1c").replace(".gz", "");
      await writeNifti(plain, createVolume(image, { shape }), { datatype: "float32" });
      await Deno.remove(file("t1c"));
      const bytes = await Deno.readFile(plain);
      new DataView(bytes.buffer).setFloat32(bytes.length - 4 * 77, NaN, true);
      await Deno.writeFile(plain, bytes);
    },
    says: /TINY-MEN-00001-000-t1c\.nii.*NaN/i,
  },
  "an unknown option": { args: ["--epohcs", "3"], says: /--epohcs/ },
  "rank 0": { args: ["--ranks", "16,0"], says: /rank/ },
  "a rank named twice": { args: ["--ranks", "16,16"], says: /--ranks.*twice/ },
  "a side that is no multiple of 64": { args: ["--side", "200"], says: /--side.*200.*64/ },
  "a prompt mixture that does not sum to 1": {
    args: ["--prompt-mix", "tight-box=0.5,none=0.3"],
    says: /tight-box=0\.5,none=0\.3.*sum to 0\.8/,
  },
  "no prompt iteration": { args: ["--prompt-iterations", "0"], says: /--prompt-iterations.*0/ },
  "shares of patients that do not sum to 1": {
    args: ["--split", "0.5,0.2,0.2"],
    says: /--split.*0\.5,0\.2,0\.2.*sum to 1/,
  },
  "two shares of patients": { args: ["--split", "0.5,0.5"], says: /--split.*three shares/ },
  "a training seed beside several": {
    args: ["--seed", "3", "--seeds", "0,1"],
    says: /--seed does not go with --seeds/,
  },
  "the study's own split as a further one": {
    args: ["--seeds", "4,5", "--split-seeds", "1,4"],
    says: /--split-seeds cannot name 4/,
  },
  "shares beside folds": {
    args: ["--split", "0.6,0.2,0.2", "--folds", "2"],
    says: /--split.*--folds/,
  },
  "more prompts a step than there is memory for": {
    args: ["--prompts-per-step", "1000000"],
    says: /--prompts-per-step.*1000000.*or less/,
  },
  "no prompt a step": { args: ["--prompts-per-step", "0"], says: /--prompts-per-step.*0/ },
  "a fold without folds": { args: ["--fold", "1"], says: /--fold.*--folds/ },
  "a fold that there is not": { args: ["--folds", "2", "--fold", "3"], says: /fold 3/ },
  "more folds than patients": { args: ["--folds", "3", "--fold", "1"], says: /3 folds.*2/ },
  "a seed named twice": { args: ["--seeds", "1,1"], says: /--seeds.*1,1/ },
  "a number that is none": { args: ["--epochs", "three"], says: /--epochs.*three/ },
  "a precision that there is not": {
    args: ["--precision", "bf16"],
    says: /--precision.*bf16.*f16/,
  },
  "a storage that there is not": { args: ["--storage", "f8"], says: /--storage.*f8.*f16/ },
  "steps of no batch": {
    args: ["--gradient-accumulation-steps", "0"],
    says: /--gradient-accumulation-steps.*0/,
  },
  "a negative budget": { args: ["--cache-disk=-1"], says: /--cache-disk.*-1/ },
  "targets that match no Linear": {
    args: ["--targets", "attn.qvk", "--ranks", "4", "--max-train", "1", "--side", "64"],
    says: /attn\.qvk.*attn\.qkv/,
  },
  "a model that there is not": { args: ["--model", "vit_x"], says: /--model.*vit_x.*vit_b/ },
  "a ViT without its weights": { args: ["--model", "vit_b"], says: /vit_b.*--weights/ },
  "weights that are nowhere": {
    args: ["--model", "vit_b", "--weights", "nowhere.safetensors"],
    says: /nowhere\.safetensors/,
  },
  "weights of another model": {
    damage: (_, folder) =>
      writeTensors(
        join(folder, "data", "other.safetensors"),
        new Map([["image_encoder.other", { shape: [1], data: new Float32Array(1) }]]),
      ),
    args: ["--weights", "data/other.safetensors"],
    says:
      /other\.safetensors.*missing: image_encoder\.patch_embed.*unexpected: image_encoder\.other/,
  },
  "a cache that cannot be written to": {
    damage: (_, folder) => Deno.writeTextFile(join(folder, "cache"), ""),
    says: /cannot write \S*cache\/.*SAMLORA_CACHE/,
  },
  "a folder for results that cannot be written to": {
    damage: (_, folder) => Deno.writeTextFile(join(folder, "file"), ""),
    out: "file/out",
    says: /file\/out.*--out|--out.*file\/out/,
  },
};

for (
  const [name, { damage, args = [], data = "data", out = "out", says }] of Object.entries(cases)
) {
  Deno.test(`${name} ends with one sentence and exit code 1, and leaves nothing behind`, async () => {
    const folder = await tinyDataset(2);
    const file = (kind: "t1c" | "seg") => tinyFile(folder, 1, kind);
    try {
      await damage?.(file, folder);
      const { code, stderr } = await runCommand([
        "experiments",
        "--data",
        data,
        "--out",
        out,
        ...args,
      ], {
        cwd: folder,
      });
      assertEquals(code, 1, stderr);
      const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !/XDG_/.test(line));
      assertEquals(lines.length, 1, stderr);
      assertMatch(lines[0], /^error: /);
      assertMatch(lines[0], says);
      const left = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
      const expected = ["cache", "data", ...(out === "out" ? [] : ["file"])];
      assert(left.every((entry) => expected.includes(entry)), `left behind: ${left}`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("an experiment that does not exist is named, with those that do", async () => {
  const folder = await Deno.makeTempDir();
  const { code, stderr } = await runCommand(["experiment", "lora_0"], { cwd: folder });
  assertEquals(code, 1);
  assertMatch(stderr, /error: .*lora_0.*lora_32/);
  await Deno.remove(folder, { recursive: true });
});
