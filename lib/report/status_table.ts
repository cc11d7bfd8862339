import { duration } from "../study/progress.ts";
import type { Queue, QueuedJob } from "../study/slurm_engine.ts";
import { STATES, type TaskStatus } from "../study/status.ts";
import { absent } from "./format.ts";
import { gridText } from "./table.ts";

/** Tasks up to which each has a line. */
const MOST_LINES = 200;

/** State of a study. */
export interface StudyStatus {
  /** Work that the tasks share; null if there is none. */
  readonly prefix: TaskStatus | null;
  readonly tasks: readonly TaskStatus[];
  /** Jobs that wait or run, or the reason why they are not known; null for a study that was never submitted. */
  readonly queue: Queue | string | null;
}

/**
 * The states of a study's tasks as text: a line each, of many those alone that are under way or failed; and
 * what waits in the scheduler's queue.
 */
export function statusText({ prefix, tasks, queue }: StudyStatus): string {
  const isTold = ({ state }: TaskStatus) => !["waiting", "finished"].includes(state);
  const some = tasks.length <= MOST_LINES ? tasks : tasks.filter(isTold).slice(0, MOST_LINES);
  const shown = [...prefix ? [prefix] : [], ...some];
  const jobs = typeof queue === "object" && queue !== null ? queue : null;
  const counts = STATES.flatMap((state) => {
    const { length } = tasks.filter((task) => task.state === state);
    return length > 0 ? [`${length} ${state}`] : [];
  });
  const grid = gridText({
    header: ["Task", "Row", "Part", "State", "Epoch", "Dice", "Left", "Where"],
    rows: shown.map((task) => [
      `${task.task}`,
      task.row,
      task.part || absent,
      task.state,
      task.epochs > 0 ? `${task.epoch}/${task.epochs}` : absent,
      task.dice === null ? absent : task.dice.toFixed(3),
      task.secondsLeft === null || task.state === "finished" ? absent : duration(task.secondsLeft),
      placeOf(task, jobs?.tasks.get(task.task)),
    ]),
  });
  const failures = shown.filter(({ message }) => message !== null)
    .map(({ task, message }) => `Task ${task}: ${message}`);
  return [
    grid,
    ...failures,
    `${tasks.length} tasks: ${counts.join(", ")}`,
    ...queue === null ? [] : [`Queue: ${typeof queue === "string" ? queue : queueText(queue)}`],
  ].join("\n");
}

/** Machine, device and job of a task; of one that nobody computes, the job that will. */
function placeOf(task: TaskStatus, queued?: QueuedJob): string {
  if (queued && task.state !== "running") return `job ${jobText(queued)}`;
  const { machine, device, job } = task;
  return [machine, device, job && `job ${job}`].filter(Boolean).join(", ") || absent;
}

/** "12_3 pending (Resources)". */
function jobText({ job, state, reason }: QueuedJob): string {
  return `${job} ${state.toLowerCase()}${reason === null ? "" : ` (${reason})`}`;
}

/** Jobs by state and reason, and those that gather. */
function queueText({ tasks, gather }: Queue): string {
  const kinds = Map.groupBy(
    tasks.values(),
    ({ state, reason }) => `${state.toLowerCase()}${reason === null ? "" : ` (${reason})`}`,
  );
  const counts = [...kinds].map(([kind, { length }]) => `${length} ${kind}`);
  const gathering = gather.map((job) => `job ${jobText(job)} gathers`);
  return [...counts, ...gathering].join(", ") || "nothing waits or runs";
}
