import { bids } from "./bids.ts";
import { brats } from "./brats.ts";
import { flat } from "./flat.ts";
import { nnunet } from "./nnunet.ts";
import { pictures } from "./pictures.ts";
import type { Source } from "./source.ts";
import { vsd } from "./vsd.ts";

/** The layouts of data sets; the first that finds scans in a folder reads it. */
export const sources: readonly Source[] = [nnunet, bids, vsd, pictures, brats, flat];
