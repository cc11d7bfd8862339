import type { Sam } from "../../lib/sam/sam.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";

/** Counts from now on the images that come to the first stage of a model's encoder. */
export function countEncoded(sam: Sam): { images: number } {
  const encoded = { images: 0 };
  const stages = sam.imageEncoder.stages.bind(sam.imageEncoder);
  sam.imageEncoder.stages = () =>
    stages().map((stage, i) => ({
      ...stage,
      run: (x: Tensor) => {
        if (i === 0) encoded.images += x.shape[0];
        return stage.run(x);
      },
    }));
  return encoded;
}
