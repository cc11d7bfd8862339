import type { MaskSummary } from "./summary.ts";

/** A row of the table: a scan and its mask. */
export interface PredictionRow extends MaskSummary {
  /** Name of the scan. */
  readonly name: string;
  /** Highest presence score of a slice, before the presence rule; null if no slice had a mask. */
  readonly presence: number | null;
}

/** Columns of the table, in order. */
const COLUMNS: readonly (readonly [name: string, cell: (row: PredictionRow) => string])[] = [
  ["case", ({ name }) => quoted(name)],
  ["volume_ml", ({ millilitres }) => millilitres.toFixed(3)],
  ["lesions", ({ lesions }) => String(lesions)],
  ["largest_diameter_mm", ({ largestDiameter }) => largestDiameter.toFixed(1)],
  ["slices", ({ slices }) => String(slices)],
  ["presence", ({ presence }) => presence === null ? "" : presence.toFixed(3)],
];

/** The table as CSV (RFC 4180): a header, then a line a scan. */
export function predictionsTable(rows: readonly PredictionRow[]): string {
  const lines = [
    COLUMNS.map(([name]) => name),
    ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row))),
  ];
  return lines.map((cells) => `${cells.join(",")}\r\n`).join("");
}

/** A cell of any text; one that a spreadsheet would compute begins with a quotation mark. */
function quoted(text: string): string {
  const plain = /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
