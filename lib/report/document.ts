/**
 * A document of headings, paragraphs, tables and figures, and its two forms: one HTML page that needs
 * nothing from outside, and Markdown with its pictures beside it. Both say the same, since both are
 * made of the same blocks.
 *
 * @module
 */
import { markdownTable } from "./markdown_table.ts";
import { visible } from "../errors.ts";
import { night, page, type Palette, paper, properties } from "./palette.ts";
import { escapeXml, standalone } from "./svg.ts";

/** A piece of text: plain, code or strong. */
export type Inline = string | { readonly code: string } | { readonly strong: string };

/** Text, plain or of pieces. */
export type Text = string | readonly Inline[];

/** A cell of a table: its text, what stands smaller below it, and whether it is the best of its column. */
export type Cell = string | {
  readonly text: string;
  readonly sub?: string;
  readonly strong?: boolean;
};

/** A table with its caption. */
export interface TableBlock {
  /** Discriminates blocks. */
  readonly kind: "table";
  /** Sentences above the table, after its number. */
  readonly caption: Text;
  /** Names of the columns. */
  readonly header: readonly string[];
  /** As many cells a row as there are columns. */
  readonly rows: readonly (readonly Cell[])[];
  /** Rows above which a rule is drawn. */
  readonly rules?: readonly number[];
  /** Columns from the left that hold words; the others hold figures. Default 1. */
  readonly words?: number;
}

/** A picture with its caption. */
export interface FigureBlock {
  /** Discriminates blocks. */
  readonly kind: "figure";
  /** Name of its file, without folder and extension. */
  readonly name: string;
  /** Sentences below the picture, after its number. */
  readonly caption: Text;
  /** Description for those who do not see it. */
  readonly alt: string;
  /** Draws it as SVG. */
  readonly draw: (palette: Palette) => string;
  /** Makes a PNG of the SVG for the Markdown form, for pictures that hold pictures. */
  readonly rasterize?: (svg: string) => Promise<Uint8Array>;
}

/** A part of a document. */
export type Block =
  | { readonly kind: "heading"; readonly level: 2 | 3; readonly text: string }
  | { readonly kind: "paragraph"; readonly text: Text }
  | { readonly kind: "list"; readonly items: readonly Text[] }
  | { readonly kind: "code"; readonly text: string }
  /** Blocks that most readers leave closed. */
  | { readonly kind: "details"; readonly summary: string; readonly blocks: readonly Block[] }
  | TableBlock
  | FigureBlock;

/** A document. */
export interface Document {
  /** Heading of the page. */
  readonly title: string;
  /** Stands small below the title. */
  readonly subtitle: Text;
  /** Results in a few sentences. */
  readonly abstract: readonly Text[];
  /** The body, in order. */
  readonly blocks: readonly Block[];
}

const pieces = (text: Text): readonly Inline[] => typeof text === "string" ? [text] : text;

/** Counts tables and figures as a form is written. */
interface Counters {
  tables: number;
  figures: number;
}

const cell = (value: Cell) => typeof value === "string" ? { text: value } : value;

/** A cell as plain text, the smaller text in brackets. */
export function cellText(value: Cell): string {
  const { text, sub } = cell(value);
  return sub ? `${text} (${sub})` : text;
}

// ---------------------------------------------------------------------------------------- HTML

function htmlText(text: Text): string {
  return pieces(text).map((piece) =>
    typeof piece === "string"
      ? escapeXml(piece)
      : "code" in piece
      ? `<code>${escapeXml(piece.code)}</code>`
      : `<strong>${escapeXml(piece.strong)}</strong>`
  ).join("");
}

function htmlTable(
  { caption, header, rows, rules = [], words = 1 }: TableBlock,
  n: number,
): string {
  const kind = (column: number) => column < words ? ' class="w"' : "";
  const head = header.map((name, column) =>
    `<th scope="col"${kind(column)}>${escapeXml(name)}</th>`
  );
  const body = rows.map((row, i) => {
    const cells = row.map((value, column) => {
      const { text, sub, strong } = cell(value);
      const content = (strong ? `<strong>${escapeXml(text)}</strong>` : escapeXml(text)) +
        (sub ? `<small>${escapeXml(sub)}</small>` : "");
      return column === 0
        ? `<th scope="row" class="w">${content}</th>`
        : `<td${kind(column)}>${content}</td>`;
    });
    return `<tr${rules.includes(i) ? ' class="rule"' : ""}>${cells.join("")}</tr>`;
  });
  return `<figure class="table"><figcaption><b>Table ${n}.</b> ${
    htmlText(caption)
  }</figcaption>\n` +
    `<div class="scroll" tabindex="0" role="region" aria-label="Table ${n}"><table${
      words > 1 ? ' class="words"' : ""
    }>` +
    (header.some(Boolean) ? `<thead><tr>${head.join("")}</tr></thead>\n` : "") +
    `<tbody>\n${body.join("\n")}\n</tbody></table></div>` +
    `</figure>`;
}

function htmlFigure({ caption, alt, draw }: FigureBlock, n: number): string {
  const svg = draw(page).replace(/^<svg /, `<svg role="img" aria-label="${escapeXml(alt)}" `);
  return `<figure class="picture"><div class="scroll" tabindex="0" role="region" ` +
    `aria-label="Figure ${n}">${svg.trim()}</div>\n` +
    `<figcaption><b>Figure ${n}.</b> ${htmlText(caption)}</figcaption></figure>`;
}

function htmlBlock(block: Block, counters: Counters): string {
  switch (block.kind) {
    case "heading":
      return `<h${block.level}>${escapeXml(block.text)}</h${block.level}>`;
    case "paragraph":
      return `<p>${htmlText(block.text)}</p>`;
    case "list":
      return `<ul>\n${block.items.map((item) => `<li>${htmlText(item)}</li>`).join("\n")}\n</ul>`;
    case "code":
      return `<pre><code>${escapeXml(block.text)}</code></pre>`;
    case "details":
      return `<details><summary>${escapeXml(block.summary)}</summary>\n` +
        `${block.blocks.map((inner) => htmlBlock(inner, counters)).join("\n")}\n</details>`;
    case "table":
      return htmlTable(block, ++counters.tables);
    case "figure":
      return htmlFigure(block, ++counters.figures);
  }
}

/** The page's style. Text is black on white, or the other way round where the reader likes it dark. */
const style = `
:root{color-scheme:light dark;${properties(paper)}}
@media screen and (prefers-color-scheme:dark){:root{${properties(night)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:62rem;padding:2.5rem 1.5rem 5rem;background:var(--ground);color:var(--ink);
font:17px/1.55 Charter,"Bitstream Charter","Source Serif 4","Iowan Old Style",Palatino,Georgia,serif}
h1,h2,h3,table,figcaption,summary,.subtitle{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
h1{font-size:1.85rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:3rem 0 .6rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:2rem 0 .4rem}
p,ul{margin:.6rem 0;max-width:46rem}
li{margin:.2rem 0}
.subtitle{color:var(--soft);font-size:.88rem;margin:0 0 1.6rem;max-width:none}
.abstract{border-left:3px solid var(--s1);padding:.1rem 0 .1rem 1.1rem;margin:1.4rem 0 0}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.82em}
code{overflow-wrap:anywhere}
pre{padding:.7rem .9rem;border:1px solid var(--line);border-radius:4px;white-space:pre-wrap}
figure{margin:1.7rem 0 2rem}
figcaption{font-size:.82rem;line-height:1.45;color:var(--soft);max-width:52rem}
figcaption b{color:var(--ink)}
.table figcaption{margin-bottom:.45rem}
.picture figcaption{margin-top:.5rem}
.scroll{overflow-x:auto}
.picture svg{display:block;max-width:100%;height:auto;font-family:system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
table{border-collapse:collapse;width:100%;font-size:.8rem;line-height:1.3;border-top:2px solid var(--ink);
border-bottom:2px solid var(--ink);font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.3rem .28rem;vertical-align:top;font-weight:400}
th:first-child,td:first-child{padding-left:.15rem}
th:last-child,td:last-child{padding-right:.15rem}
thead th{font-weight:600;vertical-align:bottom;border-bottom:1px solid var(--ink)}
tbody th,td{white-space:nowrap}
.words th,.words td.w{white-space:normal}.words tbody th{min-width:13rem}
.w{text-align:left}
td.w{overflow-wrap:break-word}
tbody tr+tr>*{border-top:1px solid color-mix(in srgb,var(--line) 45%,transparent)}
tbody tr.rule>*{border-top:1px solid var(--ink)}
small{display:block;color:var(--soft);font-size:.84em;white-space:nowrap}
details{margin:1rem 0}
summary{cursor:pointer;font-size:.9rem;font-weight:600;padding:.3rem 0}
@media (max-width:46rem){body{padding:1.4rem 1rem 3rem;font-size:16px}
.picture svg{max-width:none;width:44rem}h1{font-size:1.5rem}}
@media print{@page{size:A4;margin:16mm 14mm}
body{max-width:none;padding:0;font-size:10pt}
h1{font-size:18pt}h2{font-size:13pt;margin-top:1.4rem}table{font-size:7pt}figcaption{font-size:8pt}
th,td{padding:.15rem .25rem}
h2,h3{break-after:avoid}figure,pre{break-inside:avoid}.scroll{overflow:visible}
details::details-content{content-visibility:visible;block-size:auto}}
`.trim();

/** The policy of a page that may fetch nothing and run nothing. */
const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/** The document as one HTML page: no network, no script, light and dark, ready for print. */
export function documentHtml({ title, subtitle, abstract, blocks }: Document): string {
  const counters = { tables: 0, figures: 0 };
  return visible([
    `<!doctype html>`,
    `<html lang="en">`,
    `<head>`,
    `<meta charset="utf-8">`,
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    `<meta name="viewport" content="width=device-width, initial-scale=1">`,
    `<title>${escapeXml(title)}</title>`,
    `<style>\n${style}\n</style>`,
    `</head>`,
    `<body>`,
    `<main>`,
    `<h1>${escapeXml(title)}</h1>`,
    `<p class="subtitle">${htmlText(subtitle)}</p>`,
    `<div class="abstract">`,
    ...abstract.map((text) => `<p>${htmlText(text)}</p>`),
    `</div>`,
    ...blocks.map((block) => htmlBlock(block, counters)),
    `</main>`,
    `</body>`,
    `</html>`,
    ``,
  ].join("\n"));
}

// ------------------------------------------------------------------------------------ Markdown

/** Text that Markdown shows as it is: names from files may hold anything. */
export function escapeMarkdown(text: string): string {
  return text.replaceAll(/\s+/g, " ").replaceAll(/[\\`*_[\]<>|~#$]/g, "\\$&").replaceAll(
    "&",
    "&amp;",
  );
}

/** Code between so many backticks that it cannot end them. */
export function markdownCode(code: string): string {
  const plain = code.replaceAll(/\s+/g, " ");
  const ticks = "`".repeat(
    Math.max(0, ...[...plain.matchAll(/`+/g)].map(([run]) => run.length)) + 1,
  );
  return ticks.length > 1 ? `${ticks} ${plain} ${ticks}` : ticks + plain + ticks;
}

function markdownText(text: Text): string {
  return pieces(text).map((piece) =>
    typeof piece === "string" ? escapeMarkdown(piece) : "code" in piece
      ? markdownCode(piece.code)
      // A space before the closing marks would leave them as they are.
      : escapeMarkdown(piece.strong).replace(/^( ?)(.*?)( ?)$/, "$1**$2**$3")
  ).join("");
}

function captionedTable({ caption, header, rows, words }: TableBlock, n: number): string {
  const text = (value: Cell) => {
    const { text, sub, strong } = cell(value);
    const main = escapeMarkdown(text);
    return (strong ? `**${main}**` : main) + (sub ? ` (${escapeMarkdown(sub)})` : "");
  };
  return [
    `**Table ${n}.** ${markdownText(caption)}`,
    ``,
    markdownTable({
      header: header.map(escapeMarkdown),
      rows: rows.map((row) => row.map(text)),
      words,
    }),
  ].join("\n");
}

/** A file of the Markdown form. */
export interface DocumentFile {
  /** Relative to the text. */
  readonly path: string;
  /** Text of an SVG, or bytes of a PNG. */
  readonly content: string | Uint8Array;
}

/** The document as Markdown, whose pictures lie in `folder` beside it. */
export async function documentMarkdown(
  { title, subtitle, abstract, blocks }: Document,
  folder: string,
): Promise<{ text: string; files: DocumentFile[] }> {
  const counters = { tables: 0, figures: 0 };
  const files: DocumentFile[] = [];
  const write = async (block: Block): Promise<string> => {
    switch (block.kind) {
      case "heading":
        return `${"#".repeat(block.level)} ${escapeMarkdown(block.text)}`;
      case "paragraph":
        return markdownText(block.text);
      case "list":
        return block.items.map((item) => `- ${markdownText(item)}`).join("\n");
      case "code":
        return block.text.split("\n").map((line) => `    ${line}`).join("\n");
      case "details":
        return [
          `### ${escapeMarkdown(block.summary)}`,
          ...await sequence(block.blocks),
        ].join("\n\n");
      case "table":
        return captionedTable(block, ++counters.tables);
      case "figure": {
        const svg = standalone(block.draw(paper), block.alt, paper.ground);
        const path = `${folder}/${block.name}.${block.rasterize ? "png" : "svg"}`;
        files.push({ path, content: await block.rasterize?.(svg) ?? svg });
        return `![${escapeMarkdown(block.alt)}](${path})\n\n` +
          `**Figure ${++counters.figures}.** ${markdownText(block.caption)}`;
      }
    }
  };
  const sequence = async (list: readonly Block[]) => {
    const written: string[] = [];
    for (const block of list) written.push(await write(block));
    return written;
  };
  const text = visible([
    `# ${escapeMarkdown(title)}`,
    markdownText(subtitle),
    ...abstract.map(markdownText),
    ...await sequence(blocks),
  ].join("\n\n")) + "\n";
  return { text, files };
}
