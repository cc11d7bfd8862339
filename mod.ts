/**
 * Segment Anything adapted to brain tumours with LoRA, on WebGPU: tensors with reverse-mode autograd
 * and hand-written WGSL kernels, SAM and MobileSAM with their pretrained weights, adapters, MRI data
 * sets, training and scoring. The README's program uses these names and no others.
 *
 * @module
 */
export { InputError } from "./lib/errors.ts";
export { Random } from "./lib/random.ts";

// Device and tensors
export { Gpu } from "./lib/gpu/gpu.ts";
export { Tensor } from "./lib/tensor/tensor.ts";
export { Scope, tidy } from "./lib/tensor/scope.ts";
export { backward, noGrad } from "./lib/tensor/autograd.ts";
export { add, div, mul, sub } from "./lib/tensor/ops/arithmetic.ts";
export { linear, matmul } from "./lib/tensor/ops/matmul.ts";
export { gelu, relu, sigmoid } from "./lib/tensor/ops/unary.ts";
export { mean, sum } from "./lib/tensor/ops/sum.ts";
export { softmax } from "./lib/tensor/ops/softmax.ts";
export { layerNorm } from "./lib/tensor/ops/layer_norm.ts";
export { concat, reshape } from "./lib/tensor/ops/movement.ts";
export { Adam } from "./lib/train/optimizer.ts";

// Models and their weights
export { MODELS } from "./lib/sam/models.ts";
export { loadSam } from "./lib/files/pretrained.ts";
export { Sam } from "./lib/sam/sam.ts";
export { type Prediction, SamPredictor } from "./lib/sam/predictor.ts";

// Adapters
export { injectAdapter } from "./lib/adapters/inject.ts";
export { injectLora, type LoraOptions } from "./lib/adapters/lora.ts";
export { loha, type LohaOptions } from "./lib/adapters/loha.ts";
export { applyAdapter, collectAdapter } from "./lib/adapters/apply_adapter.ts";
export { mergeAdapters } from "./lib/adapters/adapter_layer.ts";
export { addWeightedAdapter } from "./lib/adapters/weighted_adapter.ts";
export { renameAdapter } from "./lib/adapters/rename_adapter.ts";
export { readLegacyAdapter } from "./lib/adapters/legacy.ts";

// Data
export { createVolume, type Volume } from "./lib/formats/volume.ts";
export { readNifti, writeNifti } from "./lib/data/nifti_file.ts";
export { type Dataset, openDataset } from "./lib/data/dataset.ts";
export { openScans, type Scan } from "./lib/data/scans.ts";
export { openSlices, type Slice, type SliceRef, type SliceSet } from "./lib/data/slices.ts";
export { foldPatients, partition, type Split, splitPatients } from "./lib/data/split.ts";
export { type Prompt, type PromptKind, tightBox } from "./lib/data/prompts.ts";

// Training and scoring
export { SliceModel } from "./lib/evaluate/slice_model.ts";
export { evaluate, type Evaluation } from "./lib/evaluate/evaluate.ts";
export { type ProtocolResult, runProtocol } from "./lib/evaluate/protocol.ts";
export { GuardError } from "./lib/evaluate/guards.ts";
export { fit, type FitResult } from "./lib/train/fit.ts";
export type { FitOptions } from "./lib/train/plan.ts";
export { wiseFt } from "./lib/train/wise_ft.ts";
export { METRICS } from "./lib/metrics/metrics.ts";
export { bootstrapInterval } from "./lib/stats/bootstrap.ts";
export { wilcoxonSignedRank } from "./lib/stats/wilcoxon.ts";
