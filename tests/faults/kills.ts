import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Random } from "../../lib/random.ts";
import { exists, filesBelow, pause, type Running, type TinyStudy } from "./tiny_study.ts";

/** Moment of a kill, by what it left. */
export type Moment =
  | "before the study's folder"
  | "before the first checkpoint, while kernels are compiled"
  | "in training"
  | "in validation"
  | "while a file is written"
  | "in scoring of the test set"
  | "in the report"
  | "while the study's folder is tidied up";

/** Ends a program at some moment of its life, if it gets there. */
type Aim = (killed: { study: TinyStudy; out: string; random: Random }) => Running;

/** Result of one kill. */
export interface Killed {
  /** Counted from 1. */
  readonly number: number;
  /** Moment that it hit. */
  readonly moment: Moment;
  /** Why the study was not whole afterwards; absent if it was. */
  readonly error?: unknown;
}

/**
 * Kills tiny studies by SIGKILL, each once, at moments from all over its life. Each is gone on with
 * until it ends, and what it came to is compared with the undisturbed study, bit for bit.
 *
 * @param onKill Is told what came of each.
 */
export async function killMany(
  study: TinyStudy,
  { kills, onKill }: { kills: number; onKill: (killed: Killed) => Promise<void> | void },
): Promise<void> {
  for (let number = 1; number <= kills; number++) {
    const out = `killed-${number}`;
    const random = new Random(out);
    const aim = AIMS[Math.floor((number - 1) * AIMS.length / kills)];
    const moment = await kill(aim, { study, out, random });
    try {
      await study.complete(out);
      await onKill({ number, moment });
    } catch (error) {
      await onKill({ number, moment, error });
    }
  }
}

/** Attempts at a kill: a study may end by itself before its moment. */
const ATTEMPTS = 10;

/** Begins a study and kills it. */
async function kill(
  aim: Aim,
  killed: { study: TinyStudy; out: string; random: Random },
): Promise<Moment> {
  const { study, out } = killed;
  for (let i = 0; i < ATTEMPTS; i++) {
    const { code, stdout, stderr } = await aim(killed).outcome;
    if (code === 128 + 9) return momentOf(study, out);
    assertEquals(code, 0, stdout + stderr);
    await Deno.remove(join(study.folder, out), { recursive: true });
  }
  throw new Error(`${out} ended by itself ${ATTEMPTS} times`);
}

/** Kills at a random time within `seconds` after a file is in place. */
function after(file: string, seconds: (study: TinyStudy) => number): Aim {
  return ({ study, out, random }) => {
    const path = join(study.folder, out, file);
    const running = study.begin(out);
    let ended = false;
    running.outcome.then(() => ended = true);
    const strike = async () => {
      while (!ended && !exists(path)) await pause(0.005);
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
    return study.begin(out, { fault: { kill: { write, nth: 1 + random.int(among), at } } });
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

const training = [1, 2, 4, 5, 6].map((number) =>
  after(checkpoint(number), between(/000001/, /000002/))
);
const validating = EPOCH_ENDS.map((number) =>
  after(checkpoint(number), between(/000003/, /000004/))
);

/** In the order of a life, each for the same share of the kills. */
const AIMS: readonly Aim[] = [
  whileWriting("^killed", 4), // the study's first files
  after("lora_2/run.json", between(/run[.]json/, /000001/)), // kernels are compiled
  whileWriting("safetensors$", 7),
  training[0],
  training[1],
  validating[0],
  training[2],
  training[3],
  training[4],
  validating[1],
  whileWriting("safetensors$", 7),
  after("adapters/lora_2/adapter_config.json", between(/adapter_config/, /records/)),
  whileWriting("^killed.*(lora_2.(records|run)[.]json([.]gz)?|manifest[.]json)$", 4),
  after("lora_2/records.json.gz", between(/lora_2.records/, /table.json/)),
  whileWriting("^killed[^/]*/(runs|records|table|report)[.](json([.]gz)?|md|html)$", 6),
  after("table.json", () => 0.02),
];

/** Moment of a kill, by the files that it left. */
function momentOf(study: TinyStudy, out: string): Moment {
  const folder = join(study.folder, out);
  const has = (...path: string[]) => exists(join(folder, ...path));
  if (has("table.json")) {
    return has("resume.json") ? "in the report" : "while the study's folder is tidied up";
  }
  if (!has("resume.json")) return "before the study's folder";
  const files = filesBelow(folder);
  if (files.some((file) => file.endsWith(".tmp"))) return "while a file is written";
  if (has("lora_2", "records.json.gz")) return "in the report";
  if (has("adapters", "lora_2", "adapter_config.json")) return "in scoring of the test set";
  const newest = Math.max(
    ...files.map((file) => Number(/(\d{6})\.safetensors$/.exec(file)?.[1] ?? 0)),
  );
  if (newest === 0) return "before the first checkpoint, while kernels are compiled";
  return EPOCH_ENDS.includes(newest) ? "in validation" : "in training";
}
