import { Gpu } from "../lib/gpu/gpu.ts";

/** One device for a whole test file: opening one costs a tenth of a second. */
export const gpu: Gpu = await Gpu.open();

Deno.test.afterAll(() => gpu[Symbol.asyncDispose]());
