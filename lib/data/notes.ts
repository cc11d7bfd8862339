import { basename } from "node:path";
import { excerpt } from "../errors.ts";

/** Something odd about a file that was read, and how it was taken. */
export interface Note {
  /** Path of the file. */
  readonly path: string;
  /** End of a sentence: "its …". */
  readonly text: string;
}

/** A line for each thing that is odd, with the first file of which it holds and the number of others. */
export function noteLines(notes: readonly Note[]): string[] {
  const files = new Map<string, string[]>();
  for (const { path, text } of notes) files.set(text, [...files.get(text) ?? [], path]);
  return [...files].map(([text, [first, ...others]]) => {
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    return `Note: ${excerpt(basename(first))}${more}: ${text}`;
  });
}
