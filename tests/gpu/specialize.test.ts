import { assertEquals, assertThrows } from "@std/assert";
import { specialize } from "../../kernels/specialize.ts";

/** Its lines without indentation and empty ones. */
function linesOf(code: string): string[] {
  return code.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

Deno.test("constants are set, and branches that they close are gone, with all lines in their places", () => {
  const code = `const NONE = 0u;
const FIRST = 1u;
const HALF = false;
override OP: u32 = NONE; // a code
override BIAS: bool = false;
override LANES: u32 = 8;
override WIDTH: u32 = 2 * LANES;
fn f(x: u32) -> u32 {
  if (HALF) { return 7; }
  if (OP == FIRST && x > 2) {
    return 1;
  } else if (BIAS) {
    return 2;
  } else if (x == 3) {
    return 3;
  }
  if (!BIAS) {
    // }
    if (LANES > 4) { return 4; }
    return 5;
  }
  return 6;
}
fn g() {}
`;
  const set = specialize(code, { BIAS: 0, LANES: 8 });
  assertEquals(set.split("\n").length, code.split("\n").length);
  assertEquals(set.split("\n")[23], "fn g() {}");
  assertEquals(linesOf(set), [
    "const NONE = 0u;",
    "const FIRST = 1u;",
    "const HALF = false;",
    "override OP: u32 = NONE;",
    "const BIAS: bool = false;",
    "const LANES: u32 = 8;",
    "override WIDTH: u32 = 2 * LANES;",
    "fn f(x: u32) -> u32 {",
    "if (x == 3) {",
    "return 3;",
    "}",
    "{",
    "{ return 4; }",
    "}",
    "}",
    "fn g() {}",
  ]);
  const kept = linesOf(specialize(code, { OP: 1, BIAS: true }));
  assertEquals(kept.slice(8, 13), [
    "if (OP == FIRST && x > 2) {",
    "return 1;",
    "} else {",
    "return 2;",
    "}",
  ]);
  assertEquals(kept.slice(13), ["return 6;", "}", "fn g() {}"]);
});

Deno.test("an else of a branch that is gone keeps its braces", () => {
  const code = "override A: bool;\nfn f(x: u32) { if (x > 1) { g(); } else if (A) { h(); } }\n";
  assertEquals(
    linesOf(specialize(code, { A: false }))[1],
    "fn f(x: u32) { if (x > 1) { g(); } else {} }",
  );
});

Deno.test("a constant that the kernel lacks is refused", () => {
  assertThrows(
    () => specialize("override A: bool;\n", { A: true, B: 1 }),
    Error,
    "no constant of the kernel: B",
  );
});
