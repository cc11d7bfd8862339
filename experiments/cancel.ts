// ./run experiments cancel STUDY: ends what computes the tasks of a study; what is done is kept.
import { shellWord } from "../lib/errors.ts";
import { localEngines, stopEngine } from "../lib/study/local_engine.ts";
import { runCommand } from "../lib/study/main.ts";
import { cancelJobs, readJobs } from "../lib/study/slurm_engine.ts";
import { requirePlan } from "../lib/study/study.ts";
import { commands } from "./commands.ts";

await runCommand(commands["experiments cancel"], async ({ argument }) => {
  await requirePlan(argument);
  const engines = await localEngines(argument);
  for (const engine of engines) {
    const { machine, pid, isHere } = engine;
    if (isHere) await stopEngine(engine);
    console.log(
      isHere
        ? `Asked process ${pid} to stop.`
        : `Process ${pid} of ${machine} goes on: call this there, too.`,
    );
  }
  // Slurm may not answer here, or not at all: what runs here has been asked by then.
  const jobs = await cancelJobs(await readJobs(argument));
  if (jobs.length > 0) console.log(`Cancelled: jobs ${jobs.join(", ")}.`);
  console.log(
    jobs.length + engines.length > 0
      ? `Tasks that run save first; ./run experiments submit ${shellWord(argument)} --engine ${
        jobs.length > 0 ? "slurm" : "local"
      } goes on with them.`
      : `Nothing waits or runs for ${argument} by an engine.`,
  );
});
