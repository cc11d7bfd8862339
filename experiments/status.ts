// ./run experiments status STUDY: the state of each task, and what waits, from any machine.
import { InputError } from "../lib/errors.ts";
import { statusText } from "../lib/report/status_table.ts";
import { runCommand } from "../lib/study/main.ts";
import { type Queue, queueOf, readJobs } from "../lib/study/slurm_engine.ts";
import { readPrefixStatus, readStatus } from "../lib/study/status.ts";
import { requirePlan } from "../lib/study/study.ts";
import { commands } from "./commands.ts";

/** Jobs of a study that wait or run, or why that is not known; null for one that was never submitted. */
async function readQueue(study: string): Promise<Queue | string | null> {
  const jobs = await readJobs(study);
  if (jobs.length === 0) return null;
  try {
    return await queueOf(jobs);
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

await runCommand(commands["experiments status"], async ({ argument, values: { json } }) => {
  const plan = await requirePlan(argument);
  if (plan === null) {
    const whole = { study: argument, isWhole: true, prefix: null, tasks: null, gather: null };
    const sentence = `${argument} is whole: all of its tasks are done.`;
    return console.log(json ? JSON.stringify(whole, null, 1) : sentence);
  }
  const tasks = await readStatus(argument, plan);
  const queue = await readQueue(argument);
  const known = typeof queue === "string" ? null : queue;
  const shared = await readPrefixStatus(argument, plan);
  const isAsked = shared?.state !== "waiting" || known?.tasks.has(shared.task);
  const prefix = isAsked ? shared : null;
  if (!json) return console.log(statusText({ prefix, tasks, queue }));
  const withJob = (own: typeof tasks[number]) => ({
    ...own,
    queued: known?.tasks.get(own.task) ?? null,
  });
  console.log(JSON.stringify(
    {
      study: argument,
      isWhole: false,
      prefix: prefix && withJob(prefix),
      tasks: tasks.map(withJob),
      gather: known?.gather ?? null,
    },
    null,
    1,
  ));
});
