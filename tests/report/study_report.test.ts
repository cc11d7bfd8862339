import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { parseHTML } from "linkedom";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { chooseCases } from "../../lib/report/choose_cases.ts";
import { documentHtml, documentMarkdown } from "../../lib/report/document.ts";
import { readStudy } from "../../lib/study/read_study.ts";
import { studyReport } from "../../lib/report/study_report.ts";
import type { ComparisonTable } from "../../lib/study/results.ts";
import {
  changeRuns,
  tinyModels,
  tinySlices,
  tinyStudy,
  type TinyStudyOptions,
} from "./tiny_study.ts";

/** Members used of a page's elements. */
interface Element {
  readonly localName: string;
  readonly textContent: string;
  getAttribute(name: string): string | null;
  querySelectorAll(selector: string): Iterable<Element>;
}

function select(html: string, selector: string): Element[] {
  const { document } = parseHTML(html) as unknown as { document: Element };
  return [...document.querySelectorAll(selector)];
}

/** The report of a tiny study as page and as Markdown, after `change` was made to its folder. */
async function report(
  options: TinyStudyOptions & { change?: (folder: string) => Promise<unknown>; sheet?: boolean } =
    {},
) {
  const folder = await tinyStudy(options);
  try {
    await options.change?.(folder);
    const study = await readStudy(folder);
    const sheet = options.sheet ? await chooseCases(study, tinySlices()) : null;
    const document = studyReport(study, sheet);
    return { html: documentHtml(document), ...await documentMarkdown(document, "report") };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const put = (folder: string, file: string, value: unknown) =>
  Deno.writeTextFile(join(folder, file), JSON.stringify(value));

async function changeTable(
  folder: string,
  change: (table: ComparisonTable) => unknown,
): Promise<void> {
  const table = JSON.parse(await Deno.readTextFile(join(folder, "table.json")));
  await put(folder, "table.json", change(table));
}

const whole = await report({ sheet: true });

Deno.test("the page needs nothing from outside and runs nothing", () => {
  for (const element of select(whole.html, "*")) {
    for (const name of ["src", "href", "xlink:href", "srcset", "action", "data", "poster"]) {
      const value = element.getAttribute(name);
      assert(value === null || /^(data:image\/png|#)/.test(value), `${element.localName} ${value}`);
    }
    assert(!["script", "link", "iframe", "object"].includes(element.localName));
  }
  assert(!/url\((?!#)/.test(whole.html), "a style loads something");
  assert(!whole.html.includes("@import"));
  const [policy] = select(whole.html, "meta[http-equiv]");
  assertStringIncludes(policy.getAttribute("content")!, "default-src 'none'");
});

Deno.test("headings are in order, pictures are described, tables have captions and headers", () => {
  const levels = select(whole.html, "h1,h2,h3").map(({ localName }) => Number(localName[1]));
  assertEquals(levels.filter((level) => level === 1).length, 1);
  levels.forEach((level, i) => assert(i === 0 ? level === 1 : level <= levels[i - 1] + 1));
  for (const picture of select(whole.html, "figure.picture .scroll > svg")) {
    assertEquals(picture.getAttribute("role"), "img");
    assert(picture.getAttribute("aria-label")!.length > 10);
  }
  for (const image of select(whole.html, "img")) assert(image.getAttribute("alt"));
  const figures = select(whole.html, "figure");
  figures.forEach((figure) => assert([...figure.querySelectorAll("figcaption")].length === 1));
  for (const row of select(whole.html, "tbody tr")) {
    assertEquals([...row.querySelectorAll("th[scope=row]")].length, 1);
  }
  const ids = select(whole.html, "[id]").map((element) => element.getAttribute("id"));
  assertEquals(new Set(ids).size, ids.length, "an id is there twice");
});

Deno.test("every section stands in the report of a whole study", () => {
  const headings = select(whole.html, "h2").map(({ textContent }) => textContent);
  assertEquals(headings, [
    "Comparison",
    "Prompts",
    "Boundaries and volumes",
    "Size of the tumour",
    "Rank",
    "Placement",
    "Cases",
    "Training and its cost",
    "Data and methods",
    "To make it again",
  ]);
  assertEquals(whole.files.map(({ path }) => path), [
    "report/dice_by_prompt.svg",
    "report/dice_by_jitter.svg",
    "report/dice_by_clicks.svg",
    "report/dice_by_size.svg",
    "report/dice_by_rank.svg",
    "report/placement.svg",
    "report/cases.png",
    "report/loss_curves.svg",
  ]);
  for (const { path } of whole.files) assertStringIncludes(whole.text, `](${path})`);
});

Deno.test("tables say what the study's files say", () => {
  const rows = select(whole.html, "figure.table")[0].querySelectorAll("tr");
  const cells = [...rows].map((row) =>
    [...row.querySelectorAll("th,td")].map(({ textContent }) => textContent)
  );
  assertEquals(cells[0], [
    "Model",
    "Dice, %",
    "95 % interval",
    "Against PEFT (decoder only)",
    "p",
    "Against Vanilla",
    "p",
    "Verdict",
  ]);
  assertEquals(cells[1], ["Vanilla", "81.2 ± 5.2", "80.1 to 82.5", "–", "–", "–", "–", "–"]);
  assertEquals(cells[2], [
    "PEFT (decoder only)",
    "82.9 ± 5.2",
    "81.8 to 84.2",
    "–",
    "–",
    "+1.7+0.4 to +3.2",
    "0.040",
    "above Vanilla",
  ]);
  // The pair was not tested: the difference stands alone.
  assertEquals(cells[3].slice(3), [
    "+1.7",
    "–",
    "+3.4+0.4 to +3.2",
    "0.200",
    "no difference shown",
  ]);
  assertStringIncludes(whole.html, "the smallest p that the signed-rank test can give is 0.25");
  assertStringIncludes(whole.html, "loses 7 of 5,000 tumour voxels and 1 slice");
});

Deno.test("early stopping is told where it ended a training and where it would have", () => {
  const rows = select(whole.html, "figure.table").flatMap((table) => {
    const [header, ...rows] = [...table.querySelectorAll("tr")]
      .map((row) => [...row.querySelectorAll("th,td")].map(({ textContent }) => textContent));
    const column = header.indexOf("Stopped early");
    return column < 0 ? [] : rows.map((row) => [row[0], row[column]]);
  });
  assertEquals(rows, [["PEFT (decoder only)", "no (would have, after 2)"], ["LoRA-4", "no"], [
    "LoRA-8",
    "yes",
  ]]);
  const curves = whole.files.find(({ path }) => path === "report/loss_curves.svg")!.content;
  const marks = (curves as string).match(/aria-label="early stopping"/g)!;
  assertEquals(marks.length, 2 * 2, "two trainings, in losses and in Dice");
  assertStringIncludes(whole.text, "where early stopping ended the training, or would have");
});

Deno.test("the Markdown twin has the tables' text, cell by cell", () => {
  const html = select(whole.html, "table").map((table) =>
    [...table.querySelectorAll("tbody tr")].map((row) =>
      [...row.querySelectorAll("th,td")].map((cell) => {
        const sub = [...cell.querySelectorAll("small")][0]?.textContent;
        const { textContent } = cell;
        return sub ? `${textContent.slice(0, -sub.length)} (${sub})` : textContent;
      })
    )
  );
  const blocks = whole.text.trim().split("\n\n").filter((block) => block.startsWith("| "));
  const markdown = blocks.map((block) =>
    block.split("\n").slice(2).map((line) =>
      line.slice(2, -2).split(" | ").map((cell) =>
        cell.replaceAll("**", "").replaceAll("&amp;", "&").replaceAll(/\\(.)/g, "$1")
      )
    )
  );
  assertEquals(markdown, html);
  const captions = (text: string) => text.match(/(Table|Figure) \d+\./g)!.sort();
  assertEquals(captions(whole.text), captions(whole.html.replaceAll(/aria-label="[^"]*"/g, "")));
});

/** The report of the tiny study with fields of some models' configurations changed. */
function reportWith(names: readonly string[], fields: Readonly<Record<string, unknown>>) {
  return report({
    change: (folder) =>
      changeRuns(
        folder,
        (run) =>
          names.includes(run.experiment.name)
            ? { ...run, config: { ...run.config, ...fields } }
            : run,
      ),
  });
}

Deno.test("the epoch whose weights were scored is named, also where it was the last", async () => {
  assertStringIncludes(whole.text, "best validation Dice, whose weights were scored");
  const keptLast = (names: readonly string[]) => reportWith(names, { keep: "last" });
  assertStringIncludes((await keptLast(["lora_8"])).text, "but of LoRA-8 the last epoch's");
  const all = (await keptLast(Object.keys(tinyModels))).text;
  assertStringIncludes(all, "scored were the last epoch's weights");
  assertStringIncludes(all, "The weights of the last epoch are scored");
});

Deno.test("adapters are called by their method", async () => {
  assertStringIncludes(whole.text, "all others: LoRA adapters, pretrained weights frozen");
  const { text } = await reportWith(["lora_8"], { peftType: "loha" });
  assertStringIncludes(text, "all others: LoRA and LoHa adapters, pretrained weights frozen");
});

Deno.test("the learning rate of pretrained weights is told where they had one of their own", async () => {
  assert(!whole.text.includes("of pretrained weights 0"));
  const rates = { learningRate: 2e-3, pretrainedLearningRate: 2e-4 };
  const { html, text } = await reportWith(Object.keys(tinyModels), rates);
  for (const form of [html, text]) {
    assertStringIncludes(form, "learning rate 0.002; of pretrained weights 0.0002;");
  }
});

Deno.test("models that were drawn back towards the pretrained weights are explained", async () => {
  assert(!whole.text.includes("WiSE-FT"));
  const { html, text } = await report({
    change: (folder) =>
      changeRuns(folder, (run) => {
        if (run.experiment.name !== "lora_8") return run;
        return { ...run, experiment: { ...run.experiment, wiseFt: { of: "lora_4", alpha: 0.75 } } };
      }),
  });
  for (const form of [html, text]) assertStringIncludes(form, "1 − a of the pretrained");
});

Deno.test("bold words of the Markdown end before the space that follows them", () => {
  assertStringIncludes(whole.text, "- **Data.** ");
  assert(!whole.text.includes(". **"), "closing marks after a space close nothing");
});

Deno.test("unit, and why few patients have no interval, are said beside the figures", () => {
  const caption = "over 3 patients, each of whom has the mean over their slices (6 in all)";
  assertStringIncludes(whole.text, caption);
  assertStringIncludes(whole.text, "Means have no interval: of fewer than 10 patients (here 3)");
  assertStringIncludes(whole.text, "the unit of means, standard deviations, intervals and tests");
});

Deno.test("a row of WiSE-FT is shown against PEFT of its share, and ranked apart", async () => {
  const { text } = await report({
    change: (folder) =>
      changeTable(folder, (table) => ({
        ...table,
        rows: table.rows.map((row) =>
          row.model !== "LoRA-8" ? row : {
            ...row,
            wiseFt: 0.75,
            references: { vanilla: "Vanilla", peft: "PEFT, WiSE-FT 0.75" },
            tests: { ...row.tests, peft: { ...row.tests!.vanilla, pHolm: 0.01 } },
          }
        ),
      })),
  });
  const row = (model: string) => text.split("\n").find((line) => line.startsWith(`| ${model} |`))!;
  assertStringIncludes(row("LoRA-8"), "above PEFT (decoder only), WiSE-FT 0.75");
  assertStringIncludes(row("LoRA-4"), "**84.7 ± 5.2**"); // LoRA-8 has more, and is another kind
  assertStringIncludes(text, "Models of WiSE-FT are compared with PEFT of the same share.");
  assertStringIncludes(text, "of the trained models without WiSE-FT LoRA-4 was highest");
});

Deno.test("hostile names stay text in both forms", async () => {
  const hostile = `<script>alert("1")</script>|\`a\`\n# [x](javascript:1) ${"${1}"} & *b*`;
  const models = { ...tinyModels, lora_4: hostile };
  const { html, text, files } = await report({ dataset: hostile, models, sheet: true });
  assertEquals(select(html, "script").length, 0);
  assert(!html.includes("<script"));
  assertStringIncludes(select(html, "p.subtitle")[0].textContent, `<script>alert("1")</script>`);
  assertEquals(
    select(html, "figure.table")[0].querySelectorAll("tbody th")[Symbol.iterator]().next().value!
      .textContent,
    "Vanilla",
  );
  assert(!/(^|[^\\])<script/.test(text));
  assert(!/\n# \[/.test(text), "a name begins a heading");
  assert(!/[^\\]\[x\]\(/.test(text), "a name makes a link");
  // In a row of a table a bar of the name must not part cells.
  const widths = text.split("\n").filter((line) => line.startsWith("| "))
    .map((line) => line.split(/(?<!\\)\|/).length);
  assert(widths.every((width) => width > 2));
  for (const { path, content } of files) {
    if (typeof content === "string") assert(!content.includes("<script"), path);
  }
});

Deno.test("a study without tests and curves says nothing of them", async () => {
  const { html, text, files } = await report({
    change: async (folder) => {
      await changeTable(folder, (table) => ({ ...table, statistics: [] }));
      await changeRuns(folder, (run) => ({ ...run, epochs: [] }));
    },
  });
  const headings = select(html, "h2").map(({ textContent }) => textContent);
  assert(!headings.includes("Hypotheses") && !headings.includes("Cases"));
  assert(!files.some(({ path }) => path.includes("loss_curves")));
  assert(!text.includes("Verdict"));
  assert(!text.includes("Wilcoxon"));
});

Deno.test("a cross-validation has its trainings and masks in its parts", async () => {
  const { html, text } = await report({ sheet: true, parts: ["seed_0", "seed_1"] });
  const headings = select(html, "h2").map(({ textContent }) => textContent);
  assert(headings.includes("Cases") && headings.includes("Training and its cost"));
  // Three trained models in two parts each, four curves beside each other.
  assertEquals(text.match(/!\[Loss and Dice by epoch of/g)!.length, 2);
  assertStringIncludes(text, "LoRA-4, seed\\_1");
  assertStringIncludes(html, "seed_0, seed_1");
});

Deno.test("verdicts, notes and stopped runs are told where there are some", async () => {
  const { html, text } = await report({
    change: async (folder) => {
      const verdict = {
        experiment: "lora_8",
        hypothesis: "A higher rank is better.",
        than: "lora_4",
        model: "LoRA-8",
        reference: "LoRA-4",
        prompt: "jittered-box",
        metric: "hd95",
        expected: "less",
        margin: 0.5,
        difference: -1.24,
        interval: [-2.5, 0.1],
        p: 0.1,
        pHolm: 0.3,
        patients: 3,
        paired: 6,
        unpaired: 0,
        verdict: "undecided",
      } as const;
      await changeTable(folder, (table) => ({ ...table, verdicts: [verdict] }));
      await put(folder, "notes.json", {
        notes: ["From a set that is cited here."],
        references: [{ name: "A second reader", dice: 0.912, source: "680 slices" }],
      });
      const guard = {
        guard: "non-finite",
        message: "the loss is NaN: take a lower learning rate",
        step: 12,
      };
      const path = join(folder, "runs.json");
      const runs = JSON.parse(await Deno.readTextFile(path));
      const experiment = { name: "lora_9", kind: "lora", rank: 9 };
      runs.push({ ...runs.at(-1), experiment, summary: undefined, guard });
      await put(folder, "runs.json", runs);
    },
  });
  for (const form of [html, text]) {
    assertStringIncludes(form, "A higher rank is better.");
    assertMatch(form, /LoRA-8 − LoRA-4/);
    assertStringIncludes(form, "0 supported, 0 refuted, 1 undecided");
    assertMatch(form, /−1\.2.*−2\.5 to \+0\.1/);
    assertStringIncludes(form, "From a set that is cited here.");
    assertStringIncludes(form, "91.2");
    assertStringIncludes(form, "the loss is NaN: take a lower learning rate");
  }
});

Deno.test("a missing or damaged file is named in one sentence", async () => {
  const cases: [string, (folder: string) => Promise<unknown>, RegExp][] = [
    [
      "table.json",
      (folder) => Deno.remove(join(folder, "table.json")),
      /table\.json is missing: name/,
    ],
    [
      "table.json",
      (folder) => put(folder, "table.json", { rows: [] }),
      /table\.json is damaged \(context/,
    ],
    [
      "table.json",
      (folder) =>
        changeTable(folder, ({ context, ...table }) => ({
          ...table,
          context: { ...context, primaryPrompt: "laser" },
        })),
      /table\.json is damaged \(context\.primaryPrompt: there is no such prompt/,
    ],
    ["runs.json", (folder) => Deno.writeTextFile(join(folder, "runs.json"), "{"), /no JSON/],
    ["runs.json", (folder) => put(folder, "runs.json", null), /runs\.json is damaged/],
    ["runs.json", (folder) => Deno.remove(join(folder, "runs.json")), /earlier versions/],
    [
      "runs.json",
      (folder) => changeRuns(folder, (run) => ({ ...run, epochs: [{ epoch: "x" }] })),
      /runs\.json is damaged \(0\.epochs\.0\.epoch/,
    ],
    [
      "records.json.gz",
      (folder) => Deno.remove(join(folder, "records.json.gz")),
      /records\.json\.gz is missing/,
    ],
    [
      "records.json.gz",
      (folder) => Deno.truncate(join(folder, "records.json.gz"), 300),
      /records\.json\.gz is damaged/,
    ],
    ["notes.json", (folder) => put(folder, "notes.json", { note: 1 }), /notes\.json is damaged/],
  ];
  for (const [file, change, message] of cases) {
    const folder = await tinyStudy();
    await change(folder);
    const error = await assertRejects(() => readStudy(folder), InputError);
    assertMatch(error.message, message, file);
    assert(!error.message.includes("\n"));
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the sheet shows best, median and worst, of different patients, and checks the truth", async () => {
  const folder = await tinyStudy();
  const study = await readStudy(folder);
  const sheet = (await chooseCases(study, tinySlices()))!;
  assertEquals(sheet.models, ["Vanilla", "PEFT (decoder only)", "LoRA-4", "LoRA-8"]);
  // The larger the tumour, the less a shift of a pixel costs.
  const slices = sheet.cases.map(({ rank, name }) => `${rank} ${name}`);
  assertEquals(slices, [
    "best 00003-000, slice 5",
    "best 00002-000, slice 3",
    "median 00003-000, slice 4",
    "worst 00001-000, slice 0",
    "worst 00002-000, slice 2",
  ]);
  const set = tinySlices();
  const other = {
    ...set,
    read: async (ref: typeof set.refs[number]) => {
      const slice = await set.read(ref);
      return { ...slice, mask: slice.mask.map((pixel, i) => i < 40 ? 1 : pixel) };
    },
  };
  const error = await assertRejects(() => chooseCases(study, other), InputError);
  assertMatch(error.message, /another truth/);
  await assertRejects(() => chooseCases(study, { ...set, refs: [] }), InputError, "they have no");
  await Deno.remove(folder, { recursive: true });
});
