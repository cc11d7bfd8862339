/**
 * The report of a study: what was compared, on whom, with what certainty, in tables and figures. Built as
 * one document of which the HTML page and its Markdown twin are made.
 *
 * @module
 */
import type { Sheet } from "./contact_sheet.ts";
import type { Document } from "./document.ts";
import { abstractOf } from "./study/abstract.ts";
import { choiceSection } from "./study/choices.ts";
import { placementSection, rankSection, verdictSection } from "./study/design.ts";
import { methodsSection, reproductionSection } from "./study/methods.ts";
import {
  boundarySection,
  comparisonSection,
  partsSection,
  promptsSection,
  sizeSection,
  unpromptedSection,
} from "./study/scores.ts";
import { Subject } from "./study/subject.ts";
import { casesSection, guardSection, trainingSection } from "./study/training.ts";
import type { Study } from "../study/read_study.ts";

/** The report of a study, with the sheet of its cases where pictures may be shown. */
export function studyReport(study: Study, sheet: Sheet | null): Document {
  const subject = new Subject(study);
  const { context } = subject;
  return {
    title: `Adapting ${context.baseModel} to ${context.dataset}`,
    subtitle: [
      `Report of a study on ${context.dataset}, made by samlora`,
      ...(study.environment ? [` on ${study.environment.date.slice(0, 10)}`] : []),
      `. `,
      { code: context.command },
    ],
    abstract: abstractOf(subject),
    blocks: [
      ...comparisonSection(subject),
      ...unpromptedSection(subject),
      ...partsSection(subject),
      ...choiceSection(subject),
      ...verdictSection(subject),
      ...promptsSection(subject),
      ...boundarySection(subject),
      ...sizeSection(subject),
      ...rankSection(subject),
      ...placementSection(subject),
      ...casesSection(sheet, subject),
      ...trainingSection(subject),
      ...guardSection(subject),
      ...methodsSection(subject),
      ...reproductionSection(subject),
    ],
  };
}
