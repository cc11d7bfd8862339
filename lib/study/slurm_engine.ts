/**
 * Submits the tasks of a study to Slurm: one array job of those that need no other, one of those that do, and
 * a job that gathers.
 *
 * @module
 */
import { join, resolve } from "node:path";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { requireFolder, writeFileAtomic } from "../fs.ts";
import { rangesOf } from "./gather.ts";
import { RUN_SCRIPT } from "./launcher.ts";
import { LOGS, type QueuedTask } from "./local_engine.ts";
import { SCHEDULER } from "./lease.ts";
import { readJson } from "./results.ts";
import type { SubmitOptions } from "./schema.ts";

/** File of the submissions of a study. */
export const JOBS = "jobs.json";

/** Tasks of an array: Slurm takes indices up to 1000 unless it is told otherwise. */
const MOST_TASKS = 1000;

/** Seconds before a time limit at which a task is asked to save. */
const WARNING = 120;

/** Exit code of a task that was asked to stop and has saved. */
const STOPPED = 143;

const submissionsSchema = v.array(v.object({
  /** When they were submitted, ISO 8601. */
  date: v.string(),
  /** Array jobs; index i of one is task `offset + i`. */
  arrays: v.array(v.object({ job: v.string(), tasks: v.string(), offset: v.number() })),
  /** Job that computes what the tasks share; absent where that was there. */
  prefix: v.optional(v.string()),
  /** Job that gathers. */
  gather: v.string(),
}));

/** Jobs of a study, the latest last. */
export type Submissions = v.InferOutput<typeof submissionsSchema>;

/** Reads the submissions of a study. */
export async function readJobs(path: string): Promise<Submissions> {
  return await readJson(submissionsSchema, join(path, JOBS)) ?? [];
}

/** A word as a POSIX shell reads it. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * Script of a job that runs a command of `./run`. On the warning before its time limit, and on SIGTERM, the
 * command saves; after the former the job asks to be run again.
 */
export function jobScript(words: readonly string[]): string {
  return `#!/bin/sh
again=
trap 'again=1; kill -TERM "$pid"' USR1
trap 'kill -TERM "$pid"' TERM
${words.join(" ")} &
pid=$!
while :; do
  wait "$pid"
  code=$?
  kill -0 "$pid" 2>/dev/null || break # a trap ends the waiting, too
done
if [ -n "$again" ] && [ "$code" -eq ${STOPPED} ]; then
  job=\${${SCHEDULER.array}:+\${${SCHEDULER.array}}_\${${SCHEDULER.task}}}
  scontrol requeue "\${job:-\$${SCHEDULER.job}}"
fi
exit "$code"
`;
}

/** Options of sbatch that the options of a study ask for. */
export function sbatchOptions(options: SubmitOptions, seconds: number | null): string[] {
  const { partition, time, memory, gpus, cpus, sbatch } = options;
  // Twice the estimate, for a busy node, and never less than the warning needs.
  const limit = time ?? (seconds === null ? null : `${Math.ceil((2 * seconds + 600) / 60)}`);
  return [
    ...(partition === null ? [] : [`--partition=${partition}`]),
    ...(limit === null ? [] : [`--time=${limit}`]),
    ...(memory === null ? [] : [`--mem=${memory}`]),
    ...(gpus === null ? [] : [`--gres=gpu:${gpus}`]),
    ...(cpus === null ? [] : [`--cpus-per-task=${cpus}`]),
    ...sbatch,
  ];
}

/** Array of tasks whose numbers are `offset` and an index. */
interface TaskArray {
  readonly offset: number;
  readonly tasks: readonly number[];
}

/** Tasks by arrays of at most a thousand indices. */
export function arraysOf(tasks: readonly number[]): TaskArray[] {
  const byOffset = Map.groupBy(tasks, (task) => Math.floor((task - 1) / MOST_TASKS) * MOST_TASKS);
  return [...byOffset].map(([offset, tasks]) => ({ offset, tasks }));
}

/** Runs a program of Slurm with a text as its input; null if it is not installed here. */
async function slurm(
  program: string,
  args: readonly string[],
  input = "",
): Promise<{ code: number; output: string; complaint: string } | null> {
  let process: Deno.ChildProcess;
  try {
    process = new Deno.Command(program, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch {
    return null;
  }
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await process.output();
  const text = new TextDecoder();
  const lines = text.decode(stderr).trim().split("\n");
  const last = lines.findLast((line) => !line.startsWith("Try ")); // after an option it does not know
  const complaint = excerpt(last || `exit code ${code}`);
  return { code, output: text.decode(stdout).trim(), complaint };
}

/**
 * Output of a program of Slurm that must succeed.
 *
 * @throws {InputError} with its words if it refuses.
 */
async function slurmOutput(
  program: string,
  args: readonly string[],
  input?: string,
): Promise<string> {
  const ended = await slurm(program, args, input);
  if (ended === null) {
    throw new InputError(
      `there is no ${program} here: call this on a machine of the cluster, or take --engine local`,
    );
  }
  if (ended.code === 0) return ended.output;
  throw new InputError(`${program} refused: ${ended.complaint}`);
}

/** A job that waits or runs. */
export interface QueuedJob {
  /** Its number; of an array, with the index. */
  readonly job: string;
  /** As Slurm calls it, such as PENDING. */
  readonly state: string;
  /** Reason of waiting as Slurm calls it, such as Dependency; null if it runs. */
  readonly reason: string | null;
}

/** Jobs of a study that wait or run. */
export interface Queue {
  /** By the numbers of their tasks; 0 is what the tasks share. */
  readonly tasks: ReadonlyMap<number, QueuedJob>;
  /** Those that gather. */
  readonly gather: readonly QueuedJob[];
}

/**
 * Jobs of a study that wait or run.
 *
 * @throws {InputError} if Slurm is not here, or does not answer.
 */
export async function queueOf(submissions: Submissions): Promise<Queue> {
  const tasks = new Map<number, QueuedJob>();
  const gather: QueuedJob[] = [];
  const offsets = new Map(
    submissions.flatMap(({ arrays }) => arrays.map(({ job, offset }) => [job, offset])),
  );
  const prefixes = submissions.map(({ prefix }) => prefix);
  const gathering = submissions.map(({ gather }) => gather);
  const jobs = [...offsets.keys(), ...prefixes, ...gathering].filter((job) => job !== undefined);
  if (jobs.length === 0) return { tasks, gather };
  // Of several jobs it leaves out those that Slurm has forgotten; a submission has at least two.
  const args = ["--noheader", "--array", "--format=%F %K %i %T %r", `--jobs=${jobs.join(",")}`];
  for (const line of (await slurmOutput("squeue", args)).split("\n")) {
    const [job, index, name, state, ...reason] = line.trim().split(/\s+/);
    const found = { job: name, state, reason: state === "PENDING" ? reason.join(" ") : null };
    const offset = offsets.get(job);
    if (offset !== undefined && /^\d+$/.test(index)) tasks.set(offset + Number(index), found);
    else if (prefixes.includes(job)) tasks.set(0, found);
    else if (gathering.includes(job)) gather.push(found);
  }
  return { tasks, gather };
}

/**
 * Submits tasks, and a job that gathers after all of them.
 *
 * @param options.args Options that every command is given, such as paths of data.
 * @param options.taskArgs Those of a task.
 * @param options.seconds Estimate of the longest task; null where nothing was timed.
 * @throws {InputError} with the words of sbatch if it refuses.
 */
export async function submitToSlurm(
  path: string,
  tasks: readonly QueuedTask[],
  { options, args, taskArgs, seconds, before, queue, isPrefixed }: {
    options: SubmitOptions;
    args: readonly string[];
    taskArgs: readonly string[];
    seconds: number | null;
    /** Earlier submissions. */
    before: Submissions;
    /** Jobs of those that wait or run. */
    queue: Queue;
    /** True if what the tasks share is computed first, unless a job already does. */
    isPrefixed: boolean;
  },
): Promise<Submissions[number]> {
  const study = resolve(path);
  await requireFolder(join(study, LOGS));
  // Slurm reads a percent sign as the beginning of a pattern.
  const logs = join(study, LOGS).replaceAll("%", "%%");
  const name = `samlora-${study.split("/").at(-1)}`;
  const shared = [
    "--parsable",
    `--job-name=${name}`,
    `--chdir=${Deno.cwd()}`,
    "--open-mode=append",
    "--requeue",
  ];
  const submitted: string[] = [];
  const submit = async (own: readonly string[], words: readonly string[]) => {
    const script = jobScript([RUN_SCRIPT, "experiments"].map(quoted).concat(words));
    try {
      const output = await slurmOutput("sbatch", [...shared, ...own], script);
      const [job] = output.split(";"); // the cluster's name may follow
      submitted.push(job);
      return job;
    } catch (error) {
      // Nobody would know of those before it.
      if (submitted.length > 0) await slurm("scancel", submitted.toReversed());
      throw error;
    }
  };
  const ofTask = taskArgs.map(quoted);
  const arrays: Submissions[number]["arrays"] = [];
  const limits = sbatchOptions(options, seconds);
  const after = (jobs: readonly (string | undefined)[]) => {
    const known = [...new Set(jobs.filter((job) => job !== undefined))];
    return known.length > 0 ? [`--dependency=afterany:${known.join(":")}`] : [];
  };
  const begun = queue.tasks.get(0)?.job;
  const prefix = isPrefixed && begun === undefined
    ? await submit([
      `--output=${join(logs, "prefix-%j.log")}`,
      `--signal=B:USR1@${WARNING}`,
      ...limits,
    ], ["task", quoted(study), "0", ...ofTask])
    : undefined;
  const submitWave = async (wave: readonly QueuedTask[], dependency: readonly string[]) => {
    for (const { offset, tasks } of arraysOf(wave.map(({ task }) => task))) {
      const indices = rangesOf(tasks.map((task) => task - offset));
      const job = await submit([
        `--array=${indices}${options.atOnce === null ? "" : `%${options.atOnce}`}`,
        `--output=${join(logs, "%A_%a.log")}`,
        `--signal=B:USR1@${WARNING}`,
        ...dependency,
        ...limits,
      ], ["task", quoted(study), `"$((${SCHEDULER.task} + ${offset}))"`, ...ofTask]);
      arrays.push({ job, tasks: indices, offset });
    }
  };
  const second = tasks.filter(({ needs }) => needs !== null);
  await submitWave(tasks.filter(({ needs }) => needs === null), after([prefix ?? begun]));
  const needed = second.map(({ needs }) => queue.tasks.get(needs!)?.job);
  await submitWave(second, after([prefix ?? begun, ...arrays.map(({ job }) => job), ...needed]));
  const gather = await submit([
    `--output=${join(logs, "gather-%j.log")}`,
    ...after([...arrays, ...queue.gather].map(({ job }) => job)),
    ...sbatchOptions({ ...options, gpus: null }, seconds),
  ], ["gather", quoted(study), ...args.map(quoted)]);
  const submission = { date: new Date().toISOString(), arrays, prefix, gather };
  const text = JSON.stringify([...before, submission], null, 2) + "\n";
  await writeFileAtomic(join(study, JOBS), text);
  return submission;
}

/**
 * Cancels the jobs of a study that wait or run; tasks that run save first.
 *
 * @returns their numbers.
 */
export async function cancelJobs(submissions: Submissions): Promise<string[]> {
  if (submissions.length === 0) return [];
  const { tasks, gather } = await queueOf(submissions);
  // Jobs that wait for others come first: they would start once those have gone.
  const found = [...gather, ...[...tasks.values()].reverse()];
  const jobs = [...new Set(found.map(({ job }) => job.split("_")[0]))];
  if (jobs.length > 0) await slurmOutput("scancel", ["--quiet", ...jobs]);
  return jobs.sort();
}
