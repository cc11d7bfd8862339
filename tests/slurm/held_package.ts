import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** Parts that the commands of a study are made of. */
const PARTS = ["deno.json", "deno.lock", "experiments", "kernels", "lib", "run"];

/** A copy of the package whose tasks are held by files: see `hold.ts`. */
export class HeldPackage implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  /** Copies the package. */
  static async make(): Promise<HeldPackage> {
    const folder = await Deno.makeTempDir({ prefix: "samlora-held-" });
    await copy(["-a", ...PARTS.map((part) => join(root, part)), folder]);
    // Links take no room; none can be made on another file system.
    const packages = [join(root, "node_modules"), folder];
    await copy(["-al", ...packages]).catch(() => copy(["-a", ...packages]));
    const experiments = join(folder, "experiments");
    await Deno.copyFile(join(import.meta.dirname!, "hold.ts"), join(experiments, "hold.ts"));
    const task = join(experiments, "task.ts");
    await Deno.writeTextFile(task, `import "./hold.ts";\n${await Deno.readTextFile(task)}`);
    return new HeldPackage(folder);
  }

  /** A command of its `./run`. */
  command(args: readonly string[], options: Deno.CommandOptions): Deno.Command {
    return new Deno.Command(join(this.folder, "run"), { ...options, args: [...args] });
  }

  /** Removes the copy. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Copies files and folders, as cp does. */
async function copy(args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("cp", { args: [...args] }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}
