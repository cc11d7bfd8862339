/**
 * Patients of cases, by the public naming schemes or by a file of the user. Scans of one patient in two
 * parts of a split leak, so the grouping is always told.
 *
 * @module
 */
import { excerpt, InputError } from "../errors.ts";
import { readBytes } from "../fs.ts";

/** A public scheme of names: the first group of its pattern is the patient. */
interface NamingScheme {
  /** Name for messages: "by … names". */
  readonly name: string;
  /** Pattern of a whole case name. */
  readonly pattern: RegExp;
}

/** Naming schemes; the first whose pattern fits a name decides. */
const SCHEMES: readonly NamingScheme[] = [
  { name: "BIDS", pattern: /^(sub-[a-z0-9]+)(?:_.*)?$/i },
  { name: "BraTS", pattern: /^(brats-[a-z]+(?:-[a-z]+)*-\d+)-\d+$/i },
  { name: "BraTS to 2019", pattern: /^(brats1[5-9]_(?:2013|[a-z]+\d*)_[a-z0-9]+)_\d+$/i },
  { name: "BraTS 2020 and 2021", pattern: /^(brats20(?:21_|_training_|_validation_)\d+)$/i },
  { name: "BraTS 2013 to 2016", pattern: /^(brats_(?:2013|tcia)_pat\d+)_\d+$/i },
  { name: "TCGA", pattern: /^(tcga[-_][a-z0-9]{2}[-_][a-z0-9]{4})(?:[-_.].*)?$/i },
  { name: "UPENN-GBM", pattern: /^(upenn-gbm-\d+)(?:_\d+)?$/i },
  { name: "UCSF-PDGM", pattern: /^(ucsf-pdgm-\d+)(?:_.*)?$/i },
  { name: "UCSF", pattern: /^(\d{6})_time\d$/i },
  { name: "MU-Glioma-Post", pattern: /^(patientid_\d+)(?:_timepoint_\d+)?$/i },
  {
    name: "<patient>_<date>",
    pattern: /^(.+?)[-_](?:19|20)\d\d([-_.]?)(?:0\d|1[0-2])\2(?:[0-2]\d|3[01])$/,
  },
  { name: "<set>-<patient>-<scan>", pattern: /^(.+-\d+)-\d+$/ },
];

/** The patient of a case by the naming schemes; the whole name if none fits. */
export function patientOf(caseId: string): string {
  return schemeOf(caseId)?.patient ?? caseId;
}

function schemeOf(caseId: string): { name: string; patient: string } | null {
  for (const { name, pattern } of SCHEMES) {
    const patient = pattern.exec(caseId)?.[1];
    if (patient !== undefined) return { name, patient };
  }
  return null;
}

/** Patients of cases, and how they were found. */
export interface Grouping {
  /** Patient of each case. */
  readonly patients: ReadonlyMap<string, string>;
  /** "52 patients in 123 cases (by BraTS names)". */
  readonly summary: string;
}

/**
 * Groups cases by patient.
 *
 * @param ids Names of the cases.
 * @param file File that says whose they are, read as {@linkcode readPatients} does; null for the schemes.
 * @throws {InputError} if the file cannot be read or leaves out a case.
 */
export function groupPatients(ids: readonly string[], file: string | null = null): Grouping {
  if (file !== null) {
    const patientIn = readPatients(file);
    const patients = new Map(ids.map((id) => [id, patientIn(id)]));
    return { patients, summary: `${countText(patients)} (by ${excerpt(file)})` };
  }
  const patients = new Map(ids.map((id) => [id, patientOf(id)]));
  const names = [...new Set(ids.flatMap((id) => schemeOf(id)?.name ?? []))];
  const unknown = ids.filter((id) => schemeOf(id) === null).length;
  const how = names.length === 0 ? [] : [`by ${names.join(" and ")} names`];
  if (unknown > 0) {
    const which = unknown === ids.length ? "names" : `${unknown} names`;
    how.push(`${which} of no known scheme count as a patient each: --patients FILE says otherwise`);
  }
  return { patients, summary: `${countText(patients)} (${how.join("; ")})` };
}

/** "52 patients in 123 cases". */
export function countText(patients: ReadonlyMap<string, string>): string {
  const number = new Set(patients.values()).size;
  return `${number} patient${number === 1 ? "" : "s"} in ${patients.size} case${
    patients.size === 1 ? "" : "s"
  }`;
}

/**
 * Reads whose each case is: a JSON object or a CSV table (case, patient; also with semicolons or tabs)
 * that names every case, or a file that holds one regular expression, whose first group is the patient.
 *
 * @returns the patient of a case; throws an InputError for one that is not named.
 * @throws {InputError} if the file cannot be read as one of these.
 */
export function readPatients(path: string): (caseId: string) => string {
  const text = new TextDecoder().decode(readBytes(path)).replace(/^\ufeff/, "").trim();
  const shown = excerpt(path);
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
  if (lines.length === 1 && !text.startsWith("{") && /\(/.test(text)) {
    return byPattern(text, shown);
  }
  const map = text.startsWith("{") ? mapOfJson(text, shown) : mapOfTable(lines, shown);
  return (caseId) => {
    const patient = map.get(caseId);
    if (patient !== undefined) return patient;
    throw new InputError(`${shown} does not name case ${caseId}: add it with its patient`);
  };
}

function byPattern(text: string, shown: string): (caseId: string) => string {
  let pattern: RegExp;
  try {
    pattern = new RegExp(text);
  } catch (error) {
    throw new InputError(
      `${shown} holds no regular expression that can be read (${
        excerpt(error instanceof Error ? error.message : String(error))
      }): mend it, or give a CSV or JSON file of cases and patients`,
    );
  }
  return (caseId) => {
    const patient = pattern.exec(caseId)?.[1];
    if (patient) return patient;
    throw new InputError(
      `the pattern in ${shown} finds no patient in the name ${caseId}: its first group must`,
    );
  };
}

function mapOfJson(text: string, shown: string): Map<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const entries = value === null ? [] : Object.entries(value as object);
  if (entries.length === 0 || entries.some(([, patient]) => !isPatient(patient))) {
    throw new InputError(`${shown} is no map of cases to patients: write {"case": "patient", …}`);
  }
  return new Map(entries.map(([id, patient]) => [id, requirePatient(String(patient), shown)]));
}

function isPatient(value: unknown): boolean {
  return typeof value === "number" || typeof value === "string" && value !== "";
}

function mapOfTable(lines: readonly string[], shown: string): Map<string, string> {
  const map = new Map<string, string>();
  for (const [i, line] of lines.entries()) {
    const cells = line.split(/[,;\t]/).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
    const [id, patient] = cells;
    if (cells.length !== 2 || id === "" || patient === "") {
      throw new InputError(
        `line ${i + 1} of ${shown} is not a case and its patient: write case,patient`,
      );
    }
    if (i === 0 && /^(case|scan|id|name|image)/i.test(id) && /patient|subject/i.test(patient)) {
      continue;
    }
    if (map.has(id) && map.get(id) !== patient) {
      throw new InputError(`${shown} gives case ${excerpt(id)} to two patients: leave one`);
    }
    map.set(id, requirePatient(patient, shown));
  }
  return map;
}

function requirePatient(patient: string, shown: string): string {
  if (excerpt(patient) === patient) return patient;
  throw new InputError(
    `${shown} names a patient with control characters or at great length (${excerpt(patient)}): ` +
      `rename it`,
  );
}
