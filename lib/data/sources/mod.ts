import { brats } from "./brats.ts";
import { nnunet } from "./nnunet.ts";
import type { Source } from "./source.ts";

/** The layouts of data sets; the first that recognises a folder reads it, BraTS' last of all. */
export const sources: readonly Source[] = [nnunet, brats];
