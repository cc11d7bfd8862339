import type { HostTensor } from "../nn/host_state.ts";

/** A model's tensors by their module paths, in PyTorch's shapes (Linear [out, in], Conv [O, I, kh, kw]). */
export type StateDict = Map<string, HostTensor>;
