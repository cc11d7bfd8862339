/**
 * A local stand-in for `jsr:@std/assert`: the same names and signatures, on `node:assert` and
 * `node:util`, for machines that cannot reach jsr. `links` in the root's deno.json puts it in
 * the original's place; without that line the original is used. Where the two differ, this one is
 * the stricter: 0 and -0 are unequal, as for `Object.is`.
 *
 * @module
 */
export * from "./assert.ts";
export * from "./assertion_error.ts";
export * from "./compare.ts";
export * from "./equals.ts";
export * from "./strings.ts";
export * from "./throws.ts";
