import { fingerprintKernel } from "../../../kernels/reduction/mod.ts";
import { Tensor } from "../tensor.ts";

/**
 * A hash of the bits of each row: a whole number below 2²⁴. Rows that differ in a bit differ in it, but
 * for one pair in 16 million. Carries no gradient.
 *
 * @param x [rows, ...], with at most 65,535 rows
 * @returns [rows]
 */
export function fingerprint(x: Tensor): Tensor {
  const [rows] = x.shape;
  const out = Tensor.empty(x.gpu, [rows]);
  x.gpu.run(fingerprintKernel, {
    buffers: { x: x.buffer, out: out.buffer },
    params: { length: x.size / rows },
    workgroups: [rows],
  });
  return out;
}
