/**
 * A table as Markdown.
 *
 * @param rows Cells that are Markdown already: names that may hold a bar must have it escaped.
 * @param options.words The first so many columns are words, set left; the others are figures, set right.
 * Default 1.
 */
export function markdownTable(
  { header, rows, words = 1 }: {
    header: readonly string[];
    rows: readonly (readonly string[])[];
    words?: number;
  },
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = header.map((_, column) => column < words ? "---" : "---:");
  return [header, rule, ...rows].map(line).join("\n");
}
