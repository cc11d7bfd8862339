// deno task weights MODEL: downloads published weights to the cache.
import { parseArgs } from "@std/cli/parse-args";
import { InputError } from "../lib/errors.ts";
import { Progress } from "../lib/study/progress.ts";
import { downloadCheckpoint } from "../lib/sam/download.ts";
import { MODEL_NAMES, type ModelName, MODELS } from "../lib/sam/models.ts";
import { runMain } from "../lib/study/main.ts";

const names: readonly string[] = MODEL_NAMES;
const usage = `usage: ./run weights ${names.join("|")} [--folder DIR] [--base-url URL]`;
const megabyte = 1e6;

await runMain(async () => {
  const { _: [name, ...rest], help, folder, "base-url": baseUrl } = parseArgs(Deno.args, {
    string: ["folder", "base-url", "_"],
    boolean: ["help"],
    unknown: (option) => {
      if (option.startsWith("-")) throw new InputError(`unknown option ${option}: ${usage}`);
    },
  });
  if (help) return console.log(usage);
  if (rest.length > 0 || !names.includes(name as string)) throw new InputError(usage);
  const checkpoint = MODELS[name as ModelName].checkpoint;

  let progress: Progress | undefined;
  const path = await downloadCheckpoint(checkpoint, {
    folder,
    baseUrl,
    onProgress: (done, total) => {
      const megabytes = Math.round((Number.isNaN(total) ? done : total) / megabyte);
      progress ??= new Progress({ label: checkpoint.file, total: megabytes, unit: "MB" });
      progress.update({ done: Math.round(done / megabyte) });
    },
  });
  progress?.finish();
  console.log(`SHA-256 verified: ${path}`);
});
