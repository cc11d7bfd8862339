import { gatherBackwardKernel, gatherKernel } from "../../../kernels/movement/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";

/**
 * Rows of a table by their numbers, as torch.nn.functional.embedding. Gradient: each row of the table
 * receives the sum of the gradients of its copies, in a fixed order.
 *
 * @param table [n, C]
 * @param indices u32 of any shape, each below n.
 * @returns [...indices, C]
 * @throws {Error} if the table is not a matrix or the indices are not u32.
 */
export function gather(table: Tensor, indices: Tensor): Tensor {
  if (table.shape.length !== 2 || indices.dtype !== "u32") {
    throw new Error(
      `gather: takes a table [n, C] and u32 indices, not ${
        shapeText(table.shape)
      } and ${indices.dtype}`,
    );
  }
  const { gpu } = table;
  const columns = table.shape[1];
  const output = Tensor.empty(gpu, [...indices.shape, columns]);
  gpu.run(gatherKernel, {
    buffers: { table: table.buffer, indices: indices.buffer, out: output.buffer },
    params: { count: output.size, columns },
    workgroups: Gpu.grid(Math.ceil(output.size / 64)),
  });
  const { shape, size } = table;
  return record({
    op: "gather",
    inputs: [table],
    output,
    saved: [indices],
    backward: (dout, [indices]) => {
      const dtable = Tensor.empty(gpu, shape);
      gpu.run(gatherBackwardKernel, {
        buffers: { indices: indices.buffer, dout: dout.buffer, dtable: dtable.buffer },
        params: { count: size, columns, indices: indices.size },
        workgroups: Gpu.grid(Math.ceil(size / 64)),
      });
      return [dtable];
    },
  });
}
