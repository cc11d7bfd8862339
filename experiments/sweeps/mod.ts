import type { Sweep } from "../../lib/study/sweep.ts";
import { augmentation } from "./augmentation.ts";
import { freezing } from "./freezing.ts";
import { optimisation } from "./optimisation.ts";
import { overfitting } from "./overfitting.ts";
import { placements } from "./placements.ts";
import { preprocessing } from "./preprocessing.ts";
import { ranks } from "./ranks.ts";

/** The sweeps by the names that `--sweep` takes. */
export const sweeps: Readonly<Record<string, Sweep>> = {
  placements,
  ranks,
  preprocessing,
  augmentation,
  optimisation,
  freezing,
  overfitting,
};
