// ./run weights MODEL: downloads published weights to the cache.
import { excerpt, InputError } from "../lib/errors.ts";
import { downloadCheckpoint } from "../lib/files/download.ts";
import { MODEL_NAMES, MODELS } from "../lib/sam/models.ts";
import { runCommand } from "../lib/study/main.ts";
import { Progress } from "../lib/study/progress.ts";
import { commands } from "./commands.ts";

const megabyte = 1e6;

await runCommand(commands.weights, async ({ argument, values: { folder, baseUrl } }) => {
  const model = MODEL_NAMES.find((name) => name === argument);
  if (!model) {
    throw new InputError(`there is no model ${excerpt(argument)}: name ${MODEL_NAMES.join(", ")}`);
  }
  const { checkpoint, origin } = MODELS[model];
  if (!checkpoint) throw new InputError(`${model} is not fetched: get ${origin}`);

  let progress: Progress | undefined;
  const path = await downloadCheckpoint(checkpoint, {
    folder: folder ?? undefined,
    baseUrl: baseUrl ?? undefined,
    onProgress: (done, total) => {
      const megabytes = Math.round((Number.isNaN(total) ? done : total) / megabyte);
      progress ??= new Progress({ label: checkpoint.file, total: megabytes, unit: "MB" });
      progress.update({ done: Math.round(done / megabyte) });
    },
  });
  progress?.finish();
  console.log(`SHA-256 verified: ${path}`);
});
