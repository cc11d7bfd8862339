/**
 * A local stand-in for `jsr:@std/cli`: the same names and signatures, on `node:util`, for machines
 * that cannot reach jsr. `links` in the root's deno.json puts it in the original's place; without
 * that line the original is used. It holds `parseArgs` alone.
 *
 * @module
 */
export * from "./parse_args.ts";
