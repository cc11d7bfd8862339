/**
 * Options of the commands that are no study, in the order of their help texts.
 *
 * @module
 */
import * as v from "valibot";
import { commonFields, field, writesFile } from "../lib/study/command_line.ts";
import { configFields, outFolderField, webgpuField } from "../lib/study/schema.ts";

/** Options of `./run evaluate`; the values of a run that are not given are those it was trained with. */
export const evaluateFields = {
  data: configFields.data,
  out: field({
    type: v.nullable(v.string()),
    default: null,
    flag: "out",
    argument: "FILE",
    help: "file for the scores (default: one in the run's folder)",
    group: "running",
    common: true,
    rights: writesFile,
  }),
  wholeVolumes: field({
    type: v.boolean(),
    default: false,
    flag: "whole-volumes",
    help: "score slices without tumour too: only then are false positives of a volume complete",
    group: "scoring",
    common: true,
  }),
  model: configFields.model,
  weights: configFields.weights,
  side: configFields.side,
  maxTest: configFields.maxTest,
  modality: configFields.modality,
  target: configFields.target,
  axis: configFields.axis,
  minTumourVoxels: configFields.minTumourVoxels,
  maxSlicesPerCase: configFields.maxSlicesPerCase,
  crop: configFields.crop,
  rescale: configFields.rescale,
  batchSize: configFields.batchSize,
  seed: configFields.seed,
  webgpu: webgpuField,
  ...commonFields,
};

const { crop: _, folds: __, fold: ___, ...wholeSlices } = configFields;

/** Options of `./run autopsy`, which takes whole slices and one split. */
export const autopsyFields = {
  ...wholeSlices,
  out: outFolderField,
  faults: field({
    type: v.nullable(v.array(v.string())),
    default: null,
    flag: "faults",
    argument: "A,B",
    help: "these faults alone (default: all)",
    group: "training",
    common: true,
  }),
  webgpu: webgpuField,
  ...commonFields,
};
