/** Values of a kernel's `override` declarations. */
export type Constants = Readonly<Record<string, number | boolean>>;

/** An `if` by a condition without parentheses, as the kernels lay it out, up to its brace. */
const BRANCH = /\bif \(([^(){}]*)\) \{/g;

/** A comment within a line or a function. */
const INNER_COMMENT = /(?<!^)\/\/.*/gm;

/**
 * Sets `override` constants in a kernel's text, and takes out the branches that constants close: a WebGPU
 * implementation would hand them to the driver, which inlines all functions before it drops what is dead. On Mesa
 * pipelines are created in less than half the time. Line numbers stay, and comments at the start of a line.
 *
 * @throws If a constant is not one of the kernel's.
 */
export function specialize(code: string, constants: Constants): string {
  const known = new Map<string, number | boolean>();
  const given = new Set(Object.keys(constants));
  const declared = code.replace(INNER_COMMENT, "").replace(
    /^(const|override) (\w+)(: \w+)?(?: = (\w+))?;/gm,
    (line, kind: string, name: string, type = "", text?: string) => {
      const isGiven = kind === "override" && given.delete(name);
      const value = isGiven ? typed(constants[name], type) : valueOf(text, known);
      if (value === undefined) return line;
      known.set(name, value);
      return isGiven ? `const ${name}${type} = ${value};` : line;
    },
  );
  if (given.size > 0) throw new Error(`no constant of the kernel: ${[...given].join(", ")}`);
  return resolve(declared, known);
}

/** A constant in its declared type; WebGPU takes booleans as numbers, too. */
function typed(value: number | boolean, type: string): number | boolean {
  return type === ": bool" ? Boolean(value) : Number(value);
}

/** Value of a literal or of a name that is known. */
function valueOf(
  text: string | undefined,
  known: ReadonlyMap<string, number | boolean>,
): number | boolean | undefined {
  if (text === "true" || text === "false") return text === "true";
  return /^\d+u?$/.test(text ?? "") ? parseInt(text!) : known.get(text!);
}

/** Takes out the branches whose conditions are known. */
function resolve(code: string, known: ReadonlyMap<string, number | boolean>): string {
  let at = 0;
  for (;;) {
    BRANCH.lastIndex = at;
    const branch = BRANCH.exec(code);
    if (!branch) return code;
    const open = BRANCH.lastIndex - 1;
    const isTrue = truthOf(branch[1], known);
    if (isTrue === undefined) {
      at = open;
      continue;
    }
    const close = endOfBlock(code, open);
    const [otherwise, end] = alternative(code, close);
    const before = code.slice(0, branch.index);
    const isElse = before.endsWith("else ");
    const other = isElse && otherwise === end ? "{}" : code.slice(otherwise, end);
    const [taken, after] = isTrue
      ? [code.slice(open, close), newlines(code.slice(close, end)) + code.slice(end)]
      : [newlines(code.slice(branch.index, otherwise)) + other, code.slice(end)];
    // Nothing may stand behind a block that returns.
    const returns = !isElse && /^\s*\{/.test(taken) && /\breturn\b[^;{}]*;\s*\}$/.test(taken);
    const rest = returns ? endOfBlock(`{${after}`, 0) - 2 : 0;
    code = before + taken + newlines(after.slice(0, rest)) + after.slice(rest);
    at = branch.index;
  }
}

/** Truth of a name, of its negation, of a comparison, or of several that all must hold; undefined if not known. */
function truthOf(
  condition: string,
  known: ReadonlyMap<string, number | boolean>,
): boolean | undefined {
  const truths = condition.split(" && ").map((part) => {
    const [, not, name, operator, other] = /^(!?)(\w+)(?: (==|!=|>) (\w+))?$/.exec(part) ?? [];
    const left = name === undefined ? undefined : valueOf(name, known);
    if (!operator) return typeof left === "boolean" ? left !== (not === "!") : undefined;
    const right = valueOf(other, known);
    if (left === undefined || right === undefined) return undefined;
    return operator === ">" ? left > right : (left === right) === (operator === "==");
  });
  if (truths.includes(false)) return false;
  return truths.includes(undefined) ? undefined : true;
}

/** Start and end of what follows `else` behind a block that ends at `close`; both are its end if nothing does. */
function alternative(code: string, close: number): [start: number, end: number] {
  const word = " else ";
  if (!code.startsWith(word, close)) return [close, close];
  const start = close + word.length;
  const end = endOfBlock(code, code.indexOf("{", start));
  return [start, code.startsWith("if", start) ? alternative(code, end)[1] : end];
}

/** Index behind the brace that closes the one at `open`. */
function endOfBlock(code: string, open: number): number {
  const brace = /[{}]/g;
  brace.lastIndex = open;
  for (let depth = 0;;) {
    const found = brace.exec(code);
    if (!found) throw new Error(`no brace closes that of "${code.slice(open, open + 40)}"`);
    depth += found[0] === "{" ? 1 : -1;
    if (depth === 0) return brace.lastIndex;
  }
}

function newlines(text: string): string {
  return text.replace(/[^\n]/g, "");
}
