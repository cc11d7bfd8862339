import { Gpu } from "../../gpu/gpu.ts";

/** Rows below which one invocation a row would leave most of a CPU's vector lanes idle. */
const FEW_ROWS = 16;

/** Dispatch of a kernel that reduces over rows (kernels/normalisation/row.wgsl). */
export interface RowDispatch {
  /** Invocations that share a row. */
  readonly constants: { readonly ROW_LANES: 1 | 64 };
  /** Workgroups along x and y. */
  readonly workgroups: [number, number];
}

/** An invocation a row on CPU drivers, a workgroup of 64 a row on GPUs and where rows are few. */
export function rowDispatch(gpu: Gpu, rows: number): RowDispatch {
  return gpu.family === "cpu" && rows >= FEW_ROWS
    ? { constants: { ROW_LANES: 1 }, workgroups: Gpu.grid(Math.ceil(rows / 64)) }
    : { constants: { ROW_LANES: 64 }, workgroups: Gpu.grid(rows) };
}
