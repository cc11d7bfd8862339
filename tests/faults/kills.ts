import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Random } from "../../lib/random.ts";
import { exists, filesBelow, pause, type Running, type TinyStudy } from "./tiny_study.ts";

/** What a kill hit, by what it left. */
export type Moment =
  | "before the study's folder"
  | "before the first checkpoint, while kernels are compiled"
  | "in training"
  | "in validation"
  | "while a file is written"
  | "in scoring of the test set"
  | "in the report"
  | "while the study's folder is tidied up";

/** Kills that a study goes through before it may end. */
const KILLS_OF_A_STUDY = 8;

/** Ends a program at some moment of its life, if it gets there. */
type Aim = (killed: { study: TinyStudy; out: string; random: Random }) => Running;

/**
 * Kills tiny studies by SIGKILL, again and again on the way, each from a moment at or after that of the
 * kill before: every one has to be gone on with by the next life. Whatever a kill cost would show in what
 * the study comes to in the end, which is compared with the undisturbed one, bit for bit.
 *
 * @param onStudy Is told what the kills of each study hit, once it was found to be whole; or the reason
 * why it was not.
 * @returns how many kills there were.
 */
export async function killMany(
  study: TinyStudy,
  { kills, onStudy }: {
    kills: number;
    onStudy: (moments: readonly Moment[], error?: unknown) => Promise<void> | void;
  },
): Promise<void> {
  for (let left = kills, number = 1; left > 0; number++) {
    const out = `killed-${number}`;
    const random = new Random(out);
    const moments: Moment[] = [];
    try {
      for (const aim of aims(random).slice(0, left)) {
        const running = aim({ study, out, random });
        const { code, stdout, stderr } = await running.outcome;
        if (code === 0) break; // it ended by itself, before its moment
        assertEquals(code, 128 + 9, stdout + stderr);
        moments.push(momentOf(study, out));
      }
      await study.complete(out);
      await onStudy(moments);
    } catch (error) {
      await onStudy(moments, error);
    }
    left -= moments.length;
  }
}

/** As many aims as a study is killed, a random choice in the order in which they come in a life. */
function aims(random: Random): Aim[] {
  const chosen = new Set(random.shuffle(AIMS.map((_, i) => i)).slice(0, KILLS_OF_A_STUDY));
  return AIMS.filter((_, i) => chosen.has(i));
}

/** Kills at a random time within `seconds` after a file is in place for the first time in this life. */
function after(files: readonly string[], seconds: (study: TinyStudy) => number): Aim {
  return ({ study, out, random }) => {
    const paths = files.map((file) => join(study.folder, out, file));
    const there = new Set(paths.filter((path) => exists(path) && !path.includes("safetensors")));
    const known = new Set(paths.filter((path) => exists(path)));
    const running = study.goOn(out);
    let ended = false;
    running.outcome.then(() => ended = true);
    const strike = async () => {
      const begun = () =>
        paths.some((path) => (there.has(path) || !known.has(path)) && exists(path));
      while (!ended && !begun()) await pause(0.005);
      await pause(seconds(study) * random.uniform());
      try {
        running.process.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    };
    strike();
    return running;
  };
}

/** The program kills itself at one of its next writes: half-way, or beside the file's getting its name. */
function whileWriting(write: string, among: number): Aim {
  return ({ study, out, random }) => {
    const at = (["half", "before its name", "after its name"] as const)[random.int(3)];
    return study.goOn(out, { fault: { kill: { write, nth: 1 + random.int(among), at } } });
  };
}

/** Seconds of the undisturbed study between the first writes of two files. */
function between(from: RegExp, to: RegExp): (study: TinyStudy) => number {
  return ({ written }) => {
    const at = (file: RegExp) => written.find((entry) => file.test(entry.file))!.second;
    return at(to) - at(from);
  };
}

const checkpoint = (number: number) => `lora_2/checkpoint/00000${number}.safetensors`;
/** Checkpoints after which an epoch's steps are done and its validation comes. */
const EPOCH_ENDS = [3, 7];

const compiling = after(["lora_2/split.json"], between(/split/, /000001/));
const training = after([1, 2, 4, 5, 6].map(checkpoint), between(/000001/, /000002/));
const validating = after(EPOCH_ENDS.map(checkpoint), between(/000003/, /000004/));
const scoring = after(["lora_2/adapter/adapter_config.json"], between(/adapter_config/, /scores/));
const reporting = after(["lora_2/checkpoint/finished.json"], between(/finished/, /table.json/));

/** In the order of a life. */
const AIMS: readonly Aim[] = [
  whileWriting("^killed", 4), // the study's first files
  compiling,
  whileWriting("safetensors$", 2),
  training,
  validating,
  training,
  whileWriting("safetensors$", 2),
  validating,
  scoring,
  whileWriting("^killed.*(scores|cases|masks|summary|finished)[.]json$", 5),
  reporting,
  whileWriting("^killed.*(json|png|svg|md|html)$", 4), // the report's files
  whileWriting("table.json$", 1),
  after(["table.json"], () => 0.02),
];

/** What a kill hit, by the files that it left. */
function momentOf(study: TinyStudy, out: string): Moment {
  const folder = join(study.folder, out);
  const has = (...path: string[]) => exists(join(folder, ...path));
  if (has("table.json")) {
    return has("resume.json") ? "in the report" : "while the study's folder is tidied up";
  }
  if (!has("resume.json")) return "before the study's folder";
  const files = filesBelow(folder);
  if (files.some((file) => file.endsWith(".tmp"))) return "while a file is written";
  if (has("lora_2", "checkpoint", "finished.json")) return "in the report";
  if (has("lora_2", "adapter", "adapter_config.json")) return "in scoring of the test set";
  const newest = Math.max(
    ...files.map((file) => Number(/(\d{6})\.safetensors$/.exec(file)?.[1] ?? 0)),
  );
  if (newest === 0) return "before the first checkpoint, while kernels are compiled";
  return EPOCH_ENDS.includes(newest) ? "in validation" : "in training";
}
