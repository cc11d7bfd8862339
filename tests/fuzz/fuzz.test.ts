import { assert, assertEquals } from "@std/assert";
import { cacheIn, inTemporaryFolder } from "../data/temporary.ts";
import { assertCaught } from "./fuzz.ts";
import { caseOf, outcomeOf, writeFiles } from "./kind.ts";
import { KIND_NAMES, kindNamed } from "./kinds/mod.ts";

/** Cases of each kind; `deno task test:long` and `deno task fuzz` read more, in a process with limits. */
const CASES = 30;

for (const name of KIND_NAMES) {
  Deno.test(`some hostile files of kind ${name} are refused in a sentence or read rightly`, async () => {
    const kind = kindNamed(name);
    const counts = { read: 0, refused: 0, failed: 0 };
    for (let index = 0; index < CASES; index++) {
      await inTemporaryFolder(async (folder) => {
        using _ = cacheIn(folder);
        const fuzzCase = caseOf(kind, { seed: 2, index });
        await writeFiles(folder, fuzzCase);
        const { outcome, detail } = await outcomeOf(kind, fuzzCase, folder);
        assertEquals(detail, undefined, `case ${index}`);
        counts[outcome]++;
      });
    }
    assert(counts.read > 0, "none was read");
  });
}

for (const fault of ["throw another error", "read elsewhere"]) {
  Deno.test(`a reader with the fault "${fault}" is caught`, () => assertCaught(fault));
}
