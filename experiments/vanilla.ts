import type { Experiment } from "./harness/config.ts";
import { runAlone } from "./harness/run_alone.ts";

/** SAM as it comes, nothing trained. */
export const experiment: Experiment = { name: "vanilla", kind: "vanilla" };

if (import.meta.main) await runAlone(experiment, Deno.args);
