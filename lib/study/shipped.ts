import { join } from "node:path";

/** Study whose adapters come with the package. */
export const SHIPPED_STUDY = "results/cheng-meningioma-all";

/** Adapters that come with the package, by name; the first is the default. */
const SHIPPED: Readonly<Record<string, string>> = {
  lora_16_wise_0_75: `${SHIPPED_STUDY}/adapters/lora_16_wise_0_75`,
};

/** Names of the adapters that come with the package, the default first. */
export const SHIPPED_NAMES: readonly string[] = Object.keys(SHIPPED);

/** The folder of an adapter: that of a name of the package's adapters, else the path itself. */
export function adapterPath(nameOrPath: string): string {
  if (!Object.hasOwn(SHIPPED, nameOrPath)) return nameOrPath;
  return join(import.meta.dirname!, "..", "..", SHIPPED[nameOrPath]);
}
