import { join } from "node:path";

/** Study whose adapters come with the package. */
export const SHIPPED_STUDY = "results/meningioma";

/** Adapters that come with the package: their folders from the repository's top by name, the default first. */
const SHIPPED: Readonly<Record<string, string>> = {
  meningioma: `${SHIPPED_STUDY}/adapters/lora_16`,
};

/** Names of the adapters that come with the package, the default first. */
export const SHIPPED_NAMES: readonly string[] = Object.keys(SHIPPED);

/** The folder of an adapter: that of a name of the package's adapters, else the path itself. */
export function adapterPath(nameOrPath: string): string {
  if (!Object.hasOwn(SHIPPED, nameOrPath)) return nameOrPath;
  return join(import.meta.dirname!, "..", "..", SHIPPED[nameOrPath]);
}
