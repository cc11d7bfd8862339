/**
 * Segment Anything adapted to brain tumours with LoRA, on WebGPU: tensors with reverse-mode autograd
 * and hand-written WGSL kernels, MobileSAM with its pretrained weights, adapters, BraTS data,
 * training and scoring.
 *
 * @example Adapt MobileSAM to a data set
 * ```ts ignore
 * import { loadSam, evaluate, fit, Gpu, injectLora, openDataset, openSlices, partition, Random,
 *   SliceModel, splitPatients } from "@samlora/samlora";
 *
 * using gpu = await Gpu.open();
 * const sam = await loadSam(gpu);
 * await injectLora(sam, { r: 16, lora_alpha: 16, target_modules: ["attn.qkv"], random: new Random(0) });
 *
 * const slices = await openSlices(await openDataset("BraTS-MEN/"));
 * const split = splitPatients(slices.refs.map(({ patient }) => patient), { seed: 0 });
 * const { train, validation, test } = partition(slices.refs, split);
 * using model = new SliceModel(sam, { side: 256 });
 * await fit(model, { reader: slices, train, validation }, { epochs: 3, learningRate: 1e-3 });
 * const scores = await evaluate(model, { reader: slices, refs: test }, { prompts: ["tight-box"] });
 * ```
 *
 * @module
 */
export { bytesOf, type ByteSource } from "./lib/byte_source.ts";
export * from "./lib/errors.ts";
export { openBytes } from "./lib/fs.ts";
export * from "./lib/random.ts";

export * from "./lib/stats/bootstrap.ts";
export * from "./lib/stats/compare.ts";
export * from "./lib/stats/holm.ts";
export * from "./lib/stats/strata.ts";
export { type Observation, type Score, summarize } from "./lib/stats/summary.ts";
export * from "./lib/stats/verdict.ts";
export * from "./lib/stats/wilcoxon.ts";

export * from "./kernels/spec.ts";
export * from "./lib/gpu/gpu_adapter.ts";
export * from "./lib/gpu/buffer_pool.ts";
export * from "./lib/gpu/gpu.ts";
export type { KernelTime } from "./lib/gpu/profiler.ts";
export type { Constants } from "./lib/gpu/pipelines.ts";

export * from "./lib/tensor/autograd.ts";
export * from "./lib/tensor/checkpoint.ts";
export * from "./lib/tensor/half.ts";
export * from "./lib/tensor/scope.ts";
export * from "./lib/tensor/shape.ts";
export * from "./lib/tensor/tensor.ts";
export * from "./lib/tensor/ops/arithmetic.ts";
export * from "./lib/tensor/ops/attention.ts";
export * from "./lib/tensor/ops/augment.ts";
export * from "./lib/tensor/ops/conv2d.ts";
export * from "./lib/tensor/ops/conv_transpose2d.ts";
export * from "./lib/tensor/ops/decomposed_attention.ts";
export * from "./lib/tensor/ops/dropout.ts";
export * from "./lib/tensor/ops/fingerprint.ts";
export * from "./lib/tensor/ops/fill.ts";
export * from "./lib/tensor/ops/gather.ts";
export * from "./lib/tensor/ops/layer_norm.ts";
export * from "./lib/tensor/ops/lora_linear.ts";
export * from "./lib/tensor/ops/losses.ts";
export * from "./lib/tensor/ops/matmul.ts";
export * from "./lib/tensor/ops/movement.ts";
export * from "./lib/tensor/ops/optimizer_steps.ts";
export { resizeBilinear } from "./lib/tensor/ops/resize.ts";
export * from "./lib/tensor/ops/softmax.ts";
export * from "./lib/tensor/ops/sum.ts";
export * from "./lib/tensor/ops/unary.ts";
export * from "./lib/tensor/ops/window.ts";

export * from "./lib/nn/conv2d.ts";
export * from "./lib/nn/embedding.ts";
export * from "./lib/nn/host_state.ts";
export * from "./lib/nn/layer_norm.ts";
export * from "./lib/nn/linear.ts";
export * from "./lib/adapters/loha.ts";
export * from "./lib/adapters/lora.ts";
export * from "./lib/adapters/adapter_layer.ts";
export { injectAdapter } from "./lib/adapters/inject.ts";
export type * from "./lib/adapters/method.ts";
export * from "./lib/adapters/methods.ts";
export type { AdapterTargets } from "./lib/adapters/targets.ts";
export * from "./lib/study/adapter_folder.ts";
export * from "./lib/nn/module.ts";
export * from "./lib/nn/qkv_linear.ts";
export * from "./lib/nn/weight_source.ts";

export * from "./lib/adapters/adapter.ts";
export * from "./lib/adapters/config.ts";
export * from "./lib/adapters/apply_adapter.ts";
export * from "./lib/files/download.ts";
export * from "./lib/adapters/legacy.ts";
export * from "./lib/sam/mobile_sam.ts";
export * from "./lib/sam/names.ts";
export * from "./lib/formats/onnx.ts";
export * from "./lib/formats/weights.ts";
export * from "./lib/files/pretrained.ts";
export * from "./lib/sam/official_weights.ts";
export * from "./lib/formats/raw_tensor.ts";
export * from "./lib/adapters/rename_adapter.ts";
export * from "./lib/formats/safetensors.ts";
export * from "./lib/formats/state_dict.ts";
export * from "./lib/formats/torch.ts";
export * from "./lib/adapters/weighted_adapter.ts";

export * from "./lib/data/augment.ts";
export * from "./lib/data/augment_options.ts";
export * from "./lib/data/dataset.ts";
export * from "./lib/data/sources/source.ts";
export * from "./lib/data/loader.ts";
export * from "./lib/formats/nifti.ts";
export * from "./lib/data/nifti_file.ts";
export type { Axis } from "./lib/data/plane.ts";
export {
  centreCrop,
  type CropWindow,
  type Image,
  type InputGeometry,
  inputGeometry,
  type InputRule,
  type ModelInput,
  rescale,
  RESCALE_METHODS,
  type RescaleMethod,
  type RescaleOptions,
  toModelInput,
} from "./lib/data/preprocess.ts";
export * from "./lib/data/prompts.ts";
export * from "./lib/formats/run_length.ts";
export * from "./lib/data/slices.ts";
export type { SlicePixels } from "./lib/data/slice_file.ts";
export * from "./lib/data/split.ts";
export * from "./lib/data/target.ts";
export * from "./lib/formats/volume.ts";
export * from "./lib/data/warp.ts";

export * from "./lib/sam/build_sam.ts";
export * from "./lib/evaluate/activation_cache.ts";
export * from "./lib/evaluate/cached_encoder.ts";
export * from "./lib/sam/common.ts";
export * from "./lib/sam/image_encoder.ts";
export * from "./lib/sam/image_encoder_vit.ts";
export * from "./lib/sam/mask_decoder.ts";
export * from "./lib/sam/models.ts";
export * from "./lib/sam/predictor.ts";
export * from "./lib/sam/prompt_encoder.ts";
export * from "./lib/sam/resize_sam.ts";
export * from "./lib/sam/sam.ts";
export * from "./lib/sam/tiny_vit.ts";
export * from "./lib/sam/transformer.ts";

export * from "./lib/train/checkpoint_file.ts";
export * from "./lib/evaluate/evaluate.ts";
export * from "./lib/evaluate/guards.ts";
export * from "./lib/evaluate/mask_figures.ts";
export * from "./lib/train/guards.ts";
export * from "./lib/metrics/mask_pair.ts";
export * from "./lib/metrics/mask_score.ts";
export * from "./lib/metrics/metrics.ts";
export * from "./lib/train/optimizer.ts";
export {
  type PromptedLoss,
  promptedLoss,
  type PromptedLossOptions,
} from "./lib/train/prompted_loss.ts";
export * from "./lib/evaluate/protocol.ts";
export * from "./lib/evaluate/protocol_summary.ts";
export * from "./lib/evaluate/scored_prompts.ts";
export * from "./lib/train/schedule.ts";
export * from "./lib/evaluate/slice_model.ts";
export * from "./lib/metrics/surface_distance.ts";
export type {
  EpochMetrics,
  FitCallbacks,
  FitCheckpoints,
  FitProgress,
} from "./lib/train/training.ts";
export { fit, type FitResult } from "./lib/train/fit.ts";
export { FIT_DEFAULTS, type FitData, type FitOptions } from "./lib/train/plan.ts";
export type { TrainingPosition, TrainingState } from "./lib/train/resume.ts";
export * from "./lib/evaluate/trivial_predictors.ts";
export { wiseFt } from "./lib/train/wise_ft.ts";

export { promptName } from "./lib/report/format.ts";
export * from "./lib/report/mask_pictures.ts";
export { type Palette, paper } from "./lib/report/palette.ts";
export { bestEpoch, type Curve, lossCurves } from "./lib/report/loss_curves.ts";
export type { GreySlice, MaskPrediction } from "./lib/report/slice_view.ts";
export { standalone } from "./lib/report/svg.ts";
export * from "./lib/report/protocol_table.ts";
export * from "./lib/report/rasterize.ts";
export * from "./lib/study/progress.ts";
