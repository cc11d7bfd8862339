/**
 * `records.json.gz`: scores of every slice and case, from which a study's table is computed, with the
 * predicted masks as run lengths. A gzipped JSON array of one entry a row and part, each on a line of its
 * own; scores lie in columns, a list of numbers for each prompt and metric.
 *
 * @module
 */
import { gunzipSync } from "node:zlib";
import * as v from "valibot";
import type { RunLengths } from "../formats/run_length.ts";
import { InputError } from "../errors.ts";
import type { MaskScore } from "../metrics/mask_score.ts";
import type { ProtocolCase, ProtocolSlice } from "../evaluate/protocol.ts";
import { PRESENCE_NAMES, type PresenceScores } from "../evaluate/presence.ts";
import type { ScoredPrompt } from "../evaluate/scored_prompts.ts";
import { checkFile, FILES } from "./results.ts";

/** Scores of a mask as they are recorded: its predicted size follows from the others. */
export type RecordedScore = Omit<MaskScore, "predicted">;

type Recorded<T extends ProtocolSlice | ProtocolCase> = Omit<T, "scores"> & {
  readonly scores: Readonly<Partial<Record<ScoredPrompt, RecordedScore>>>;
};

/** Scores of a slice. */
export type SliceRecord = Recorded<ProtocolSlice>;

/** Scores of a case as a volume. */
export type CaseRecord = Recorded<ProtocolCase>;

/** Scores of slices with tumour and of their cases, and of tumour-free slices. */
export interface ScoreRecords {
  readonly slices: readonly SliceRecord[];
  readonly cases: readonly CaseRecord[];
  /** Tumour-free slices, scored without a prompt; absent where the study has none. */
  readonly healthy?: readonly SliceRecord[];
}

/** Scores of one row in one part of a study. */
export interface Records extends ScoreRecords {
  /** Part of a cross-validation; empty in a study of one part. */
  readonly part: string;
  /** Name of the experiment; of a trivial predictor its name in tables. */
  readonly row: string;
  /** True for a predictor that sees no image. */
  readonly trivial: boolean;
  /** Masks of the test slices under the primary prompt; empty where none were kept. */
  readonly masks: readonly ({ readonly id: string } & RunLengths)[];
  /** Masks of all test slices without a prompt, where tumour-free ones are among them. */
  readonly unpromptedMasks?: readonly ({ readonly id: string } & RunLengths)[];
  /** The sample's mask under its tight box, with its Dice; null if the run cuts other slices. */
  readonly sample: (RunLengths & { readonly dice: number }) | null;
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** By prompt and metric; Dice is null for a slice without tumour where the prompt needs one. */
const scores = v.record(
  v.string(),
  v.objectWithRest(
    { dice: v.array(v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(1)))) },
    v.array(v.nullable(v.number())),
  ),
);
const runLengths = { size: v.tuple([count, count]), counts: v.array(count) };

const slicesSchema = v.object({
  id: v.array(v.string()),
  caseId: v.array(v.string()),
  patient: v.array(v.string()),
  tumourPixels: v.array(count),
  /** True size, the same under every prompt. */
  truth: v.array(v.number()),
  scores,
  /** Dice after each click. */
  clicks: v.array(v.nullable(v.array(v.number()))),
  /** Presence scores without a prompt, by name. */
  presence: v.optional(
    v.object(Object.fromEntries(PRESENCE_NAMES.map((name) => [name, v.array(v.number())]))),
  ),
});

const recordsSchema = v.object({
  part: v.string(),
  row: v.string(),
  trivial: v.boolean(),
  slices: slicesSchema,
  healthy: v.optional(slicesSchema),
  cases: v.object({
    id: v.array(v.string()),
    patient: v.array(v.string()),
    slices: v.array(count),
    truth: v.array(v.number()),
    scores,
  }),
  masks: v.array(v.object({ id: v.string(), ...runLengths })),
  unpromptedMasks: v.optional(v.array(v.object({ id: v.string(), ...runLengths }))),
  sample: v.nullable(v.object({ ...runLengths, dice: v.number() })),
});

type Columns = v.InferOutput<typeof scores>;
type Scored = SliceRecord | CaseRecord;

/** Scores as they are recorded: to six decimals, from which everything else is computed. */
export function rounded<T>(value: T): T {
  const round = (_: string, value: unknown) =>
    typeof value === "number" ? Math.round(value * 1e6) / 1e6 : value;
  return JSON.parse(JSON.stringify(value, round));
}

function column<T, K extends keyof T>(items: readonly T[], field: K): T[K][] {
  return items.map((item) => item[field]);
}

/** Columns of the scores, and of the true sizes apart, which are the same under every prompt. */
function scoreColumns(items: readonly Scored[]): { truth: number[]; scores: Columns } {
  const prompts = [...new Set(items.flatMap(({ scores }) => Object.keys(scores)))];
  const columns = prompts.map((prompt) => {
    const found = items.map(({ scores }) => scores[prompt as ScoredPrompt]);
    const metrics = Object.keys(found.find((score) => score)!)
      .filter((name) => name !== "truth" && name !== "predicted") as (keyof RecordedScore)[];
    const values = metrics.map((name) => [name, found.map((score) => score?.[name] ?? null)]);
    return [prompt, Object.fromEntries(values)];
  });
  return {
    truth: items.map(({ scores }) => Object.values(scores)[0]?.truth ?? 0),
    scores: Object.fromEntries(columns),
  };
}

/** Scores of the item at an index of the columns. */
function scoresAt(
  { truth, scores }: { truth: readonly number[]; scores: Columns },
  index: number,
): Scored["scores"] {
  return Object.fromEntries(
    Object.entries(scores).filter(([, { dice }]) => dice[index] !== null).map(([prompt, found]) => {
      const values = Object.entries(found).map(([metric, values]) => [metric, values[index]]);
      return [prompt, { ...Object.fromEntries(values), truth: truth[index] }];
    }),
  );
}

/** Slices in columns. */
function sliceColumns(slices: readonly SliceRecord[]): v.InferOutput<typeof slicesSchema> {
  const hasPresence = slices.length > 0 && slices.every(({ presence }) => presence);
  return {
    id: column(slices, "id"),
    caseId: column(slices, "caseId"),
    patient: column(slices, "patient"),
    tumourPixels: column(slices, "tumourPixels"),
    ...scoreColumns(slices),
    clicks: slices.map(({ clicks }) => clicks ? [...clicks] : null),
    ...(hasPresence && {
      presence: Object.fromEntries(
        PRESENCE_NAMES.map((name) => [name, slices.map(({ presence }) => presence![name])]),
      ),
    }),
  };
}

/** Slices from their columns. */
function slicesFrom(columns: v.InferOutput<typeof slicesSchema>): SliceRecord[] {
  const { id, caseId, patient, tumourPixels, clicks, presence } = columns;
  return id.map((id, i) => ({
    id,
    caseId: caseId[i],
    patient: patient[i],
    tumourPixels: tumourPixels[i],
    scores: scoresAt(columns, i),
    ...(clicks[i] && { clicks: clicks[i] }),
    ...(presence && { presence: presenceAt(presence, i) }),
  }));
}

function presenceAt(
  columns: Readonly<Record<string, readonly number[]>>,
  index: number,
): PresenceScores {
  const values = PRESENCE_NAMES.map((name) => [name, columns[name][index]]);
  return Object.fromEntries(values);
}

/** Line of an entry. */
function recordsLine({ slices, cases, healthy, ...rest }: Records): string {
  return JSON.stringify({
    ...rest,
    slices: sliceColumns(slices),
    ...(healthy && { healthy: sliceColumns(healthy) }),
    cases: {
      id: column(cases, "id"),
      patient: column(cases, "patient"),
      slices: column(cases, "slices"),
      ...scoreColumns(cases),
    },
  });
}

/** Content of the file: deterministic bytes. */
export async function encodeRecords(records: readonly Records[]): Promise<Uint8Array> {
  return await new Response(joinRecords([records])).bytes();
}

/**
 * Content of one file for several, a piece at a time: the bytes that encoding all of their entries gives.
 *
 * @param sources Paths of files, or entries.
 */
export function joinRecords(
  sources: readonly (string | readonly Records[])[],
): ReadableStream<Uint8Array> {
  const text = async function* () {
    yield "[\n";
    let last: string | null = null; // the same pieces always: the compressed bytes depend on them
    for (const source of sources) {
      const lines = typeof source === "string" ? entryLines(source) : source.map(recordsLine);
      for await (const line of lines) {
        if (last !== null) yield `${last},\n`;
        last = line;
      }
    }
    if (last !== null) yield `${last}\n`;
    yield "]\n";
  };
  return ReadableStream.from(text())
    .pipeThrough(new TextEncoderStream())
    .pipeThrough(new CompressionStream("gzip"));
}

function parseRecords(line: string, path: string): Records {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw damaged(path);
  }
  const { slices, cases, healthy, ...rest } = checkFile(recordsSchema, value, path);
  if (![slices, cases, ...healthy ? [healthy] : []].every(isEven)) throw damaged(path);
  return {
    ...rest,
    slices: slicesFrom(slices),
    ...(healthy && { healthy: slicesFrom(healthy) }),
    cases: cases.id.map((id, i) => ({
      id,
      patient: cases.patient[i],
      slices: cases.slices[i],
      scores: scoresAt(cases, i),
    })),
  };
}

/** True if all columns are as long as the first. */
function isEven(table: v.InferOutput<typeof recordsSchema>["slices" | "cases"]): boolean {
  const lengths = (value: unknown): number[] =>
    Array.isArray(value) ? [value.length] : Object.values(value as object).flatMap(lengths);
  return lengths(table).every((length) => length === table.id.length);
}

/** Times its own size that a file's text may have; scores have about 6, masks 20. */
const MOST_COMPRESSION = 400;

/** Bytes of a file that is decompressed at once: a stream costs more than the little that it saves. */
const SMALL = 2 ** 18;

/** Lines of a gzipped text. */
async function* gunzipLines(path: string): AsyncGenerator<string> {
  const { isFile, size } = await Deno.stat(path);
  if (!isFile) throw damaged(path); // a pipe would be waited for
  if (size <= SMALL) {
    const limit = { maxOutputLength: MOST_COMPRESSION * size };
    const bytes = gunzipSync(await Deno.readFile(path), limit);
    const lines = new TextDecoder().decode(bytes).split("\n");
    if (lines.pop() !== "") throw damaged(path);
    return yield* lines;
  }
  const file = await Deno.open(path);
  const text = file.readable.pipeThrough(new DecompressionStream("gzip"))
    .pipeThrough(new TextDecoderStream());
  let length = 0;
  let pending: string[] = [];
  for await (const chunk of text) {
    length += chunk.length;
    if (length > MOST_COMPRESSION * size) throw damaged(path);
    const [first, ...lines] = chunk.split("\n");
    pending.push(first);
    for (const line of lines) {
      yield pending.join("");
      pending = [line];
    }
  }
  if (pending.join("") !== "") throw damaged(path);
}

/**
 * Lines of the entries of a file.
 *
 * @throws {InputError} if it is missing or damaged.
 */
async function* entryLines(path: string): AsyncGenerator<string> {
  try {
    for await (const line of gunzipLines(path)) {
      if (line !== "[" && line !== "]") yield line.replace(/,$/, "");
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(
        `${path} is missing: name the folder of a whole study, which has its ${FILES.records}`,
      );
    }
    throw damaged(path);
  }
}

/**
 * Reads the file.
 *
 * @throws {InputError} if it is missing or damaged.
 */
export async function readRecords(path: string): Promise<Records[]> {
  const records: Records[] = [];
  for await (const line of entryLines(path)) records.push(parseRecords(line, path));
  return records;
}

function damaged(path: string): InputError {
  return new InputError(
    `${path} is damaged: restore it, or run that part of the study again`,
  );
}
