import { assert, assertEquals } from "@std/assert";
import { assertCaught, fuzz } from "./fuzz.ts";
import { KIND_NAMES } from "./kinds/mod.ts";
import { FAULT_NAMES } from "./kinds/self_test.ts";

/** Cases of each kind; `deno task fuzz` reads 20,000. */
const cases = 150;
const seed = 1;

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

for (const fault of FAULT_NAMES) {
  Deno.test(`a reader with the fault "${fault}" is caught, and the file kept`, () =>
    assertCaught(fault));
}
