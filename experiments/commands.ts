/**
 * The commands of `./run` with their options.
 *
 * @module
 */
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import * as v from "valibot";
import { voxelFiles } from "../lib/data/detached.ts";
import { MODEL_NAMES, MODELS } from "../lib/sam/models.ts";
import {
  command,
  commonFields,
  type Field,
  field,
  reads,
  type Rights,
  writes,
  writesFile,
} from "../lib/study/command_line.ts";
import {
  configFields,
  deviceFields,
  experimentOptions,
  outFolderField,
  plannedOptions,
  planOptions,
  resumes,
  studyOptions,
  type SubmitOptions,
  submitOptions,
  taskOptions,
} from "../lib/study/schema.ts";
import { CARD_PATHS, DEVICE_PATHS } from "../lib/study/devices.ts";
import { placeOf } from "../lib/predict/paths.ts";
import { manifestsOf, studyAround } from "../lib/study/manifest.ts";
import { adapterPath, SHIPPED_NAMES, SHIPPED_STUDY } from "../lib/study/shipped.ts";
import { sweeps } from "./sweeps/mod.ts";

/** Files whose hash and commit a study's record holds. */
const CODE = [".git", "deno.json", "experiments", "kernels", "lib"];

const SAMPLE = "experiments/sample";

/** Values of an option that may be repeated. */
const texts = v.array(v.string());

/** Adapters that commands take. */
const ADAPTER = `${
  SHIPPED_NAMES.join(", ")
}, a PEFT folder, such as results/…/adapters/lora_16, or a file of Sam_LoRA`;

/** Rights to the folder of new results, if none is named. */
function results({ given: { out } }: { given: { out?: string | null } }): Rights {
  return out ? {} : writes("results");
}

/** Rights to run the programs that an engine calls. */
function engineRights({ engine }: Partial<SubmitOptions>): Rights {
  if (engine === "slurm") return { run: ["sbatch", "squeue", "scancel"] };
  return engine === "local" ? { run: ["/bin/sh"], read: CARD_PATHS } : {};
}

/** Rights of both kinds. */
function merged(a: Rights, b: Rights): Rights {
  return { ...a, ...b, read: [...a.read ?? [], ...b.read ?? []] };
}

const { crop: _, folds: __, fold: ___, ...wholeSlices } = configFields;

/** Options that say what a data set holds. */
const { modality, patients, target, labels, axis, minTumourVoxels } = configFields;
const datasetFields = { modality, patients, target, labels, axis, minTumourVoxels };

/** Options that an adapter's own values stand in for: all but those that are of the data set at hand. */
const ofData: readonly unknown[] = [patients, labels, configFields.maxTest];
const trainedFields = Object.values(configFields as Record<string, Field>).filter((field) =>
  !ofData.includes(field)
);

/** Hosts of the published weights; GitHub passes its downloads on. */
const HOSTS = [
  ...new Set(
    Object.values(MODELS).flatMap(({ checkpoint }) =>
      checkpoint ? [new URL(checkpoint.baseUrl).host] : []
    ),
  ),
  "raw.githubusercontent.com",
];

/** Leave to write over what is there; inputs are never replaced. */
const overwrite = field("overwrite", "replace files that are there", {
  type: v.boolean(),
  default: false,
  common: true,
  group: "running",
});

/** Rights to read an adapter, and the manifests of the study that it lies in. */
function readsAdapter(nameOrPath: string): Rights {
  const path = adapterPath(nameOrPath);
  const study = studyAround(path);
  const manifests = study === null ? [] : manifestsOf(study, path);
  return { read: [path, ...manifests.map((name) => join(study!, name))] };
}

/** A volume's file, and that with its voxels where they lie apart. */
function volumeFiles(path: string): string[] {
  const folder = dirname(path);
  return [path, ...[...voxelFiles(folder, [basename(path)])].map((name) => join(folder, name))];
}

/** File in an adapter's folder with its scores on a data set. */
export function evaluationFile(adapter: string, data: string): string {
  return join(adapterPath(adapter), `evaluation-${basename(resolve(data))}.json`);
}

/** Program of esbuild for this system. */
export function bundler(): string {
  const { os, arch } = Deno.build;
  const system = os === "windows" ? "win32" : os;
  const cpu = arch === "x86_64" ? "x64" : "arm64";
  const program = os === "windows" ? "esbuild.exe" : "bin/esbuild";
  const resolve = createRequire(import.meta.resolve("esbuild")).resolve;
  return resolve(`@esbuild/${system}-${cpu}/${program}`);
}

/** Program that opens an address in the user's browser; none where there is no screen. */
export function opener(): string[] {
  const { os } = Deno.build;
  if (os === "linux" && !Deno.env.get("DISPLAY") && !Deno.env.get("WAYLAND_DISPLAY")) return [];
  const name = { darwin: "open", windows: "explorer" }[os as string] ?? "xdg-open";
  const [separator, end] = os === "windows" ? [";", ".exe"] : [":", ""];
  const places = (Deno.env.get("PATH") ?? "").split(separator).map((folder) =>
    join(folder, name + end)
  );
  const found = places.find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
  return found === undefined ? [] : [found];
}

/** Files of a merged model in ONNX: encoder and decoder. */
export function onnxFiles(out: string): string[] {
  return [`${out}.encoder.onnx`, `${out}.decoder.onnx`];
}

/** Switch of commands that tell of something. */
const jsonField = field("json", "print JSON, for other programs", {
  type: v.boolean(),
  default: false,
  common: true,
  group: "running",
});

const PLANNED = { name: "STUDY", help: "the folder of a study that was planned" };

/** Adapter that masks are made with. */
const adapterField = field(
  "adapter NAME",
  `${ADAPTER}, or vanilla for none (default: ${SHIPPED_NAMES[0]})`,
  {
    type: v.nullable(v.string()),
    default: null,
    common: true,
    rights: readsAdapter,
    group: "adapters",
  },
);

/** The commands by name. */
export const commands = {
  experiments: command({
    name: "experiments",
    script: "main.ts",
    about: "Train and compare vanilla, PEFT and LoRA",
    fields: studyOptions(Object.keys(sweeps)),
    sources: CODE,
    saves: true,
    rights: ({ given }) => ({
      ...engineRights(given),
      ...(given.resume ? {} : results({ given })),
    }),
  }),
  "experiments plan": command({
    name: "experiments plan",
    script: "plan.ts",
    about: "Write the list of a study's tasks, which processes and machines then share",
    required: ["out"],
    fields: planOptions(Object.keys(sweeps)),
    sources: CODE,
    saves: true,
    rights: results,
  }),
  "experiments task": command({
    name: "experiments task",
    script: "task.ts",
    about: "Run one task of a study that was planned, unless it is done",
    argument: {
      name: "STUDY N",
      help: "the study's folder, and a task's number from 1 (default: that of a Slurm array)",
      several: true,
    },
    fields: taskOptions,
    sources: CODE,
    saves: true,
    rights: ({ argument }) => resumes(argument),
  }),
  "experiments gather": command({
    name: "experiments gather",
    script: "gather.ts",
    about: "Pool what a study's tasks have come to, and say which are missing",
    argument: PLANNED,
    fields: plannedOptions,
    sources: CODE,
    rights: ({ argument }) => resumes(argument),
  }),
  "experiments submit": command({
    name: "experiments submit",
    script: "submit.ts",
    about: "Hand the tasks of a study that are left to an engine, and gather them afterwards",
    argument: PLANNED,
    required: ["engine"],
    fields: submitOptions,
    sources: CODE,
    rights: ({ argument, given }) => merged(resumes(argument), engineRights(given)),
  }),
  "experiments status": command({
    name: "experiments status",
    script: "status.ts",
    about: "Show the tasks of a study: state, epoch, Dice, time left, and where each is computed",
    argument: PLANNED,
    fields: { json: jsonField, ...commonFields },
    rights: ({ argument }) => ({ ...reads(argument), run: ["squeue"] }),
  }),
  "experiments cancel": command({
    name: "experiments cancel",
    script: "cancel.ts",
    about: "End the jobs and processes that an engine runs for a study; what is done is kept",
    argument: PLANNED,
    fields: commonFields,
    rights: ({ argument }) => ({ ...writes(argument), run: ["squeue", "scancel", "/bin/sh"] }),
  }),
  experiment: command({
    name: "experiment",
    script: "experiment.ts",
    about: "Train one row of the comparison by itself",
    argument: { name: "NAME", help: "vanilla, peft, full or lora_<rank>, such as lora_32" },
    fields: experimentOptions,
    sources: CODE,
    saves: true,
    rights: results,
  }),
  evaluate: command({
    name: "evaluate",
    script: "evaluate.ts",
    about: "Score an adapter on a data set, with the values that it was trained with",
    argument: { name: "ADAPTER", help: `${ADAPTER}, or vanilla` },
    trained: trainedFields,
    required: ["data"],
    fields: {
      data: configFields.data,
      out: field("out FILE", "file for the scores (default: one in the adapter's folder)", {
        type: v.nullable(v.string()),
        default: null,
        common: true,
        rights: writesFile,
        group: "running",
      }),
      wholeVolumes: field(
        "whole-volumes",
        "score slices without tumour too: only then are false positives complete",
        { type: v.boolean(), default: false, common: true, group: "scoring" },
      ),
      model: configFields.model,
      weights: configFields.weights,
      side: configFields.side,
      maxTest: configFields.maxTest,
      ...datasetFields,
      maxSlicesPerCase: configFields.maxSlicesPerCase,
      crop: configFields.crop,
      rescale: configFields.rescale,
      batchSize: configFields.batchSize,
      testPrompts: configFields.testPrompts,
      seed: configFields.seed,
      ...deviceFields,
      ...commonFields,
    },
    sources: [".git"],
    rights: ({ argument, given: { out, data } }) => ({
      ...readsAdapter(argument),
      files: out || !data ? [] : [evaluationFile(argument, data)],
    }),
  }),
  inspect: command({
    name: "inspect",
    script: "inspect.ts",
    about: "Say what a data set holds and what would be left out of a study, without training",
    argument: { name: "DIR", help: "the folder of a data set, or of scans" },
    fields: {
      json: jsonField,
      ...datasetFields,
      ...commonFields,
    },
    rights: ({ argument }) => reads(argument),
  }),
  card: command({
    name: "card",
    script: "card.ts",
    about: "Write an adapter's model card from the study that tested models like it",
    argument: { name: "ADAPTER", help: ADAPTER },
    required: ["study"],
    fields: {
      study: field("study DIR", "study with a row of the adapter's name, tested by patient", {
        type: v.string(),
        default: "",
        common: true,
        rights: reads,
        group: "data",
      }),
      data: configFields.data,
      healthy: configFields.healthy,
      controls: field("controls A,B", "controls.json of models like it, by ./run controls", {
        type: v.array(v.string()),
        default: [],
        common: true,
        rights: (files) => ({ read: files }),
        group: "data",
      }),
      planes: field("planes NAME=END,...", "planes by the ends of their cases' names: axial=-000", {
        type: v.array(v.string()),
        default: [],
        group: "data",
      }),
      out: field("out DIR", "folder for the card (default: the adapter's)", {
        type: v.nullable(v.string()),
        default: null,
        rights: writes,
        group: "running",
      }),
      ...commonFields,
    },
    sources: [SAMPLE],
    rights: ({ argument, given: { out } }) => ({
      ...readsAdapter(argument),
      ...(out ? {} : { write: [adapterPath(argument)] }),
    }),
  }),
  controls: command({
    name: "controls",
    script: "controls.ts",
    about: "Find out whether an adapter tells tumour from none, or scanners apart",
    argument: { name: "ADAPTER", help: `${ADAPTER}, or vanilla` },
    trained: trainedFields,
    required: ["data", "healthy", "out"],
    fields: {
      data: configFields.data,
      healthy: { ...configFields.healthy, common: true },
      volumes: field(
        "volumes DIR",
        "data set of volumes whose tumour-free slices are scored, too",
        {
          type: v.nullable(v.string()),
          default: null,
          common: true,
          rights: reads,
          group: "data",
        },
      ),
      out: field("out DIR", "new folder for the table and pictures of each control", {
        type: v.string(),
        default: "",
        common: true,
        rights: writes,
        group: "running",
      }),
      model: configFields.model,
      weights: configFields.weights,
      side: configFields.side,
      maxTest: configFields.maxTest,
      modality: configFields.modality,
      minTumourVoxels: configFields.minTumourVoxels,
      maxSlicesPerCase: configFields.maxSlicesPerCase,
      batchSize: configFields.batchSize,
      ...deviceFields,
      ...commonFields,
    },
    sources: [".git"],
    rights: ({ argument }) => readsAdapter(argument),
  }),
  predict: command({
    name: "predict",
    script: "predict.ts",
    about: "Segment scans: a mask each, a contact sheet and a table of volumes",
    argument: {
      name: "SCAN…",
      help: "volumes, folders and data sets of them, or patterns such as 'scans/*.nii.gz'",
      several: true,
    },
    trained: trainedFields,
    required: ["out"],
    fields: {
      out: field("out DIR", "folder for the masks, the contact sheet and predictions.csv", {
        type: v.string(),
        default: "",
        common: true,
        rights: writes,
        group: "running",
      }),
      point: field(
        "point X,Y,Z",
        "a click on an object, in voxels from 0, which spreads to the slices beside; X,Y,Z;X,Y,Z for " +
          "several on one; may be repeated",
        { type: texts, default: [], common: true, repeated: true, group: "prompts" },
      ),
      background: field("background X,Y,Z", "a click beside the object; may be repeated", {
        type: texts,
        default: [],
        common: true,
        repeated: true,
        group: "prompts",
      }),
      box: field(
        "box X0,Y0,X1,Y1",
        "a box in each slice, x along its first voxel axis; with six numbers, X0,Y0,Z0,X1,Y1,Z1, one in " +
          "the volume; may be repeated",
        { type: texts, default: [], common: true, repeated: true, group: "prompts" },
      ),
      boxesFrom: field(
        "boxes-from SEG",
        "a box round each lesion of this segmentation, in each of its slices",
        {
          type: v.nullable(v.string()),
          default: null,
          common: true,
          rights: (path) => ({ read: volumeFiles(path) }),
          group: "prompts",
        },
      ),
      pointsFrom: field(
        "points-from FILE",
        "clicks of 3D Slicer, .fcsv or .mrk.json (a label that begins with background is beside the " +
          "object), or a .csv table with columns x, y, z and, if wanted, label and object",
        {
          type: v.nullable(v.string()),
          default: null,
          common: true,
          rights: reads,
          group: "prompts",
        },
      ),
      mm: field(
        "mm",
        "clicks and boxes are in millimetres of the scan's affine (right, front, top), not in voxels",
        { type: v.boolean(), default: false, common: true, group: "prompts" },
      ),
      slices: field("slices A-B", "segment these slices alone, from 0", {
        type: v.nullable(v.string()),
        default: null,
        common: true,
        group: "prompts",
      }),
      merge: field("merge", "label all objects 1, and not 1, 2, 3, …", {
        type: v.boolean(),
        default: false,
        common: true,
        group: "running",
      }),
      presence: field(
        "presence N",
        "without a prompt: presence score below which a slice has no tumour (default: the adapter's own rule, " +
          "else every mask counts, and N is a mean logit inside it)",
        {
          type: v.nullable(v.pipe(v.number(), v.finite())),
          default: null,
          common: true,
          group: "prompts",
        },
      ),
      overwrite,
      adapter: adapterField,
      modality: configFields.modality,
      target: configFields.target,
      labels: configFields.labels,
      axis: configFields.axis,
      crop: configFields.crop,
      rescale: configFields.rescale,
      model: configFields.model,
      weights: configFields.weights,
      side: configFields.side,
      ...deviceFields,
      ...commonFields,
    },
    sources: [SHIPPED_STUDY],
    rights: ({ positional }) => ({
      read: positional.map((path) => placeOf(path).folder).flatMap(volumeFiles),
    }),
  }),
  view: command({
    name: "view",
    script: "view.ts",
    about: "Segment a scan by clicks in a browser, on this machine",
    argument: {
      name: "SCAN",
      help: "a volume, a picture or the folder of a DICOM series (default: a slice of the sample)",
      optional: true,
    },
    trained: trainedFields,
    fields: {
      port: field("port N", "port of the page on 127.0.0.1", {
        type: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535)),
        default: 8017, // the browser keeps the weights by address
        common: true,
        group: "running",
      }),
      open: field("no-open", "print the page's address alone, and start no browser", {
        type: v.boolean(),
        default: true,
        common: true,
        group: "running",
      }),
      build: field(
        "build DIR",
        "write the page as static files to a new folder, for any web server, and serve nothing",
        {
          type: v.nullable(v.string()),
          default: null,
          common: true,
          rights: writes,
          group: "running",
        },
      ),
      adapter: adapterField,
      model: configFields.model,
      weights: configFields.weights,
      side: configFields.side,
      ...commonFields,
    },
    sources: [SHIPPED_STUDY, SAMPLE, ...CODE.filter((path) => path !== ".git")],
    rights: ({ argument, given: { build } }) => ({
      read: argument === "" ? [] : volumeFiles(argument),
      run: [bundler(), ...build ? [] : opener()],
      hosts: ["127.0.0.1"],
    }),
  }),
  merge: command({
    name: "merge",
    script: "merge.ts",
    about: "Fold an adapter into the model's weights",
    argument: {
      name: "ADAPTER",
      help: ADAPTER,
    },
    trained: trainedFields,
    required: ["out"],
    fields: {
      out: field("out FILE", "the merged weights, .safetensors, or .pth for PyTorch", {
        type: v.string(),
        default: "",
        group: "running",
      }),
      onnx: field(
        "onnx",
        "write two ONNX graphs for annotation tools instead, FILE.encoder.onnx and FILE.decoder.onnx, in the " +
          "layout of samexporter",
        { type: v.boolean(), default: false, group: "running" },
      ),
      overwrite,
      model: configFields.model,
      weights: configFields.weights,
      side: configFields.side,
      ...commonFields,
    },
    sources: [SHIPPED_STUDY],
    rights: ({ argument, values: { out, onnx } }) => ({
      ...readsAdapter(argument),
      files: onnx ? onnxFiles(out) : [out],
    }),
  }),
  report: command({
    name: "report",
    script: "report.ts",
    about: "Compute a study's table anew and write its report, as one HTML page and as Markdown",
    argument: { name: "STUDY", help: "the folder of a study, such as results/default" },
    fields: {
      pictures: field(
        "pictures DIR",
        "the study's data set, to show slices of it (those of the sample always are)",
        { type: v.nullable(v.string()), default: null, rights: reads, group: "data" },
      ),
      ...commonFields,
    },
    sources: [SAMPLE],
    rights: ({ argument }) => writes(argument),
  }),
  verify: command({
    name: "verify",
    script: "verify.ts",
    about: "Check every file of a study against the hashes that it was written with",
    argument: { name: "STUDY", help: "the folder of a study, such as results/default" },
    fields: {
      acceptChanges: field(
        "accept-changes",
        "take files that were changed as they are; the study's table says so from then on",
        { type: v.boolean(), default: false, common: true, group: "running" },
      ),
      ...commonFields,
    },
    rights: ({ argument, values: { acceptChanges } }) =>
      acceptChanges ? writes(argument) : reads(argument),
  }),
  weights: command({
    name: "weights",
    script: "weights.ts",
    about: "Download published weights to the cache, and check them",
    argument: { name: "MODEL", help: MODEL_NAMES.join(", ") },
    fields: {
      folder: field("folder DIR", "folder for the file (default: weights in the cache)", {
        type: v.nullable(v.string()),
        default: null,
        rights: writes,
        group: "running",
      }),
      baseUrl: field("base-url URL", "fetch from this folder of the web, such as a mirror", {
        type: v.nullable(
          v.pipe(v.string(), v.check(isWeb, "give an address that begins https://")),
        ),
        default: null,
        rights: (url) => ({ hosts: [new URL(url).host] }),
        group: "running",
      }),
      ...commonFields,
    },
    rights: ({ given }) => given.baseUrl ? {} : { hosts: HOSTS },
  }),
  devices: command({
    name: "devices",
    script: "devices.ts",
    about: "List what WebGPU can compute on here, and which of it a run takes",
    fields: {
      json: jsonField,
      ...commonFields,
    },
    rights: () => ({ read: DEVICE_PATHS, run: [Deno.execPath()] }),
  }),
  "gpu-report": command({
    name: "gpu-report",
    script: "gpu_report.ts",
    about: "Measure what this machine's GPU does, on one page",
    required: ["out"],
    fields: {
      out: field("out DIR", "folder for report.html and report.json, or for the archives", {
        type: v.string(),
        default: "",
        common: true,
        rights: writes,
        group: "running",
      }),
      minutes: field("minutes N", "end after so many minutes, with what there is", {
        type: v.pipe(v.number(), v.minValue(1), v.maxValue(1440)),
        default: 6,
        common: true,
        group: "running",
      }),
      python: field(
        "python PATH",
        "a Python with torch, numpy and safetensors, whose steps and products stand beside ours",
        { type: v.nullable(v.string()), default: null, common: true, group: "running" },
      ),
      parts: field("parts A,B", "these parts alone, by their names in report.json (default: all)", {
        type: v.nullable(v.array(v.string())),
        default: null,
        group: "running",
      }),
      pack: field(
        "pack",
        "measure nothing: write archives of at most 60 MiB, with which a machine without network can",
        { type: v.boolean(), default: false, common: true, group: "running" },
      ),
      device: deviceFields.device,
      ...commonFields,
    },
    sources: ["tests"],
    rights: () => ({ run: [Deno.execPath()] }),
  }),
  autopsy: command({
    name: "autopsy",
    script: "autopsy.ts",
    about: "Put known faults into a training, and see which guard catches each",
    fields: {
      ...wholeSlices,
      out: outFolderField,
      faults: field("faults A,B", "these faults alone (default: all)", {
        type: v.nullable(v.array(v.string())),
        default: null,
        common: true,
        group: "training",
      }),
      ...deviceFields,
      ...commonFields,
    },
    sources: [".git", SAMPLE],
    rights: results,
  }),
};

/** True for an address that can be fetched. */
function isWeb(text: string): boolean {
  return /^https?:$/.test(URL.parse(text)?.protocol ?? "");
}
