import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli";
import { parseArgs as fromSubpath } from "@std/cli/parse-args";

Deno.test("undeclared options become true, numbers or strings", () => {
  assertEquals(parseArgs(["in", "7", "--a", "--b", "x", "--c=1.5", "--d", "-e"]), {
    _: ["in", 7],
    a: true,
    b: "x",
    c: 1.5,
    d: true,
    e: true,
  });
  assertEquals(fromSubpath, parseArgs);
});

Deno.test("string options stay strings and are empty when their value is missing", () => {
  const options = parseArgs(["--rank", "16", "--out", "--side=256", "5"], {
    string: ["rank", "out", "side", "_"],
  });
  const rank: string | undefined = options.rank;
  assertEquals([rank, options.out, options.side, options._], ["16", "", "256", ["5"]]);
});

Deno.test("boolean options are false by default and take no value but true or false", () => {
  const options = parseArgs(["--flip", "in.nii", "--cache=false", "--wide", "true"], {
    boolean: ["flip", "cache", "wide", "help"],
  });
  assertEquals({ ...options }, {
    _: ["in.nii"],
    flip: true,
    cache: false,
    wide: true,
    help: false,
  });
});

Deno.test("collected options keep every value in order, others the last", () => {
  const options = parseArgs(["--data", "a", "--seed", "1", "--data=b", "--seed", "2"], {
    string: ["data", "seed", "tag"],
    collect: ["data", "tag"],
  });
  const data: string[] = options.data;
  assertEquals([data, options.tag, options.seed], [["a", "b"], [], "2"]);
});

Deno.test("aliases carry values, defaults and types to all names", () => {
  const options = parseArgs(["-v", "-r", "8"], {
    boolean: ["verbose"],
    string: ["rank"],
    alias: { verbose: "v", rank: ["r", "R"], side: "s" },
    default: { side: 256 },
  });
  assertEquals({ ...options }, {
    _: [],
    verbose: true,
    v: true,
    rank: "8",
    r: "8",
    R: "8",
    side: 256,
    s: 256,
  });
});

Deno.test("only negatable options are negated", () => {
  const options = parseArgs(["--no-color", "--no-cache"], {
    boolean: ["color"],
    negatable: ["color"],
    default: { color: true },
  });
  assertEquals({ ...options }, { _: [], color: false, "no-cache": true });
});

Deno.test("unknown sees what is not declared and can refuse it", () => {
  const seen: unknown[] = [];
  const options = parseArgs(["--ranks", "4", "--sise=256", "-x", "extra"], {
    string: ["ranks"],
    unknown: (arg, key, value) => {
      seen.push([arg, key, value]);
      return false;
    },
  });
  assertEquals(seen, [["--sise=256", "sise", "256"], ["-x", "x", "extra"]]);
  assertEquals({ ...options }, { _: [], ranks: "4" });
});

Deno.test("unknown sees arguments that are not options, without a key", () => {
  const seen: unknown[] = [];
  const options = parseArgs(["in", "--", "--not-read"], {
    unknown: (arg, key) => {
      seen.push([arg, key]);
      return false;
    },
  });
  assertEquals(seen, [["in", undefined]]);
  assertEquals(options._, ["--not-read"]);
});

Deno.test("what follows the double dash is not parsed", () => {
  assertEquals(parseArgs(["a", "--", "--b", "1"])._, ["a", "--b", "1"]);
  const options = parseArgs(["a", "--", "--b", "1"], { "--": true });
  assertEquals([options._, options["--"]], [["a"], ["--b", "1"]]);
  assertEquals(parseArgs(["--out", "--", "x"], { string: ["out"] }).out, "");
});

Deno.test("stopEarly leaves everything after the first plain argument unparsed", () => {
  const options = parseArgs(["--a", "--b=1", "run", "--c", "2"], {
    boolean: ["a"],
    stopEarly: true,
  });
  assertEquals({ ...options }, { _: ["run", "--c", "2"], a: true, b: 1 });
});

Deno.test("a group of letters sets each flag, the last one may take a value", () => {
  assertEquals({ ...parseArgs(["-abc", "x"], { boolean: ["a"] }) }, {
    _: [],
    a: true,
    b: true,
    c: "x",
  });
});
