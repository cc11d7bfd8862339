/**
 * SAM with LoRA for brain-tumour segmentation on WebGPU, in TypeScript and WGSL.
 *
 * @module
 */
export { InputError } from "./lib/errors.ts";
