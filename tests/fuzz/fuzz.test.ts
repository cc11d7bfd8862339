import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fuzz } from "./fuzz.ts";
import { KIND_NAMES } from "./kinds/mod.ts";
import { FAULT_NAMES } from "./kinds/self_test.ts";

const long = Deno.env.get("SAMLORA_LONG") === "1";
const cases = Number(Deno.env.get("SAMLORA_FUZZ_CASES") ?? (long ? 20_000 : 250));
const seed = Number(Deno.env.get("SAMLORA_FUZZ_SEED") ?? 1);

for (const kind of KIND_NAMES) {
  Deno.test(`hostile files of kind ${kind} are refused in a sentence or read rightly`, async () => {
    const keep = await Deno.makeTempDir({ prefix: "samlora-fuzz-kept-" });
    const report = await fuzz(kind, { cases, seed, keep });
    const { failures, ...counts } = report;
    console.log(JSON.stringify(counts));
    assertEquals(
      failures.map(({ index, detail, folder }) => `case ${index} (${folder}): ${detail}`),
      [],
      `of ${cases} cases of seed ${seed}`,
    );
    assertEquals(report.cases, cases);
    // Files that all fail at the first byte would show nothing, and so would files that all are sound.
    assert(report.read > cases / 20, `only ${report.read} were read`);
    if (kind !== "slice_cache") {
      assert(report.refused > cases / 20, `only ${report.refused} refused`);
    }
    await Deno.remove(keep, { recursive: true });
  });
}

/** Sentence that must be said of each fault. */
const SAYS: Readonly<Record<string, string>> = {
  hang: "s of the processor",
  allocate: "allocation failed",
  grow: "it died",
  recurse: "call stack",
  "throw another error": "TypeError",
  "say nothing": "the message is empty",
  "name no file": "the message names no file",
  "hide an error": "hides an error",
  "read elsewhere": "NotCapable",
  "write elsewhere": "NotCapable",
  "run a program": "NotCapable",
  "run code": "EvalError",
  exit: "it ended before its last case",
  "refuse a sound file": "a sound file is refused",
};

for (const fault of FAULT_NAMES) {
  Deno.test(`a reader with the fault "${fault}" is caught, and the file kept`, async () => {
    const keep = await Deno.makeTempDir({ prefix: "samlora-fuzz-kept-" });
    const { failures } = await fuzz(fault, {
      cases: 1,
      seed: 1,
      keep,
      cpuSeconds: fault === "hang" ? 2 : 10,
    });
    assertEquals(failures.length, 1);
    assertStringIncludes(failures[0].detail, SAYS[fault]);
    assert((await Deno.stat(failures[0].folder)).isDirectory);
    await Deno.remove(keep, { recursive: true });
  });
}
