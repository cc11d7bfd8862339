import { join } from "node:path";
import { writeFileAtomic } from "../../lib/fs.ts";
import { type Block, documentHtml } from "../../lib/report/document.ts";
import { describeAdapter } from "../../lib/study/environment.ts";
import type { Environment } from "../../lib/study/results.ts";
import type { Outcome, Part } from "./part.ts";

/** All that the report knows. */
export interface Report {
  readonly environment: Environment;
  /** Minutes that it was given. */
  readonly minutes: number;
  readonly outcomes: readonly Outcome[];
}

/** Writes report.html and report.json. */
export async function writePage(
  out: string,
  report: Report,
  parts: readonly Part[],
): Promise<void> {
  const { environment, minutes, outcomes } = report;
  const measured = outcomes.filter(({ result }) => result !== null);
  const partOf = ({ name }: Outcome) => parts.find((part) => part.name === name)!;
  const failed = outcomes.filter(({ state }) => state === "failed");
  const html = documentHtml({
    title: `samlora on ${environment.adapter.name}`,
    subtitle: [
      `${describeAdapter(environment.adapter)}. Deno ${environment.deno}, ${environment.os}, ${
        environment.date.slice(0, 16).replace("T", " ")
      } UTC. `,
      { code: environment.command },
      `, at most ${minutes} minutes. All figures: report.json.`,
    ],
    abstract: [
      ...measured.flatMap((outcome) => partOf(outcome).headline?.(outcome.result) ?? []),
      ...failed.map(({ title, reason }) => `Failed: ${title}: ${reason}.`),
    ],
    blocks: [
      ...measured.flatMap((outcome): Block[] => [
        { kind: "heading", level: 2, text: outcome.title },
        ...outcome.reason
          ? [{ kind: "paragraph" as const, text: `Not whole: ${outcome.reason}.` }]
          : [],
        ...partOf(outcome).blocks(outcome.result),
      ]),
      { kind: "heading", level: 2, text: "Parts" },
      {
        kind: "table",
        caption: "What was measured, and what was not.",
        header: ["Part", "State", "Reason", "Seconds"],
        words: 3,
        rows: outcomes.map(({ title, state, reason, seconds }) => [
          title,
          state,
          reason ?? "",
          seconds ? seconds.toFixed(0) : "–",
        ]),
      },
    ],
  });
  await writeFileAtomic(join(out, "report.html"), html);
  await writeFileAtomic(join(out, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
}
