import { assertEquals, assertThrows } from "@std/assert";
import { decodeRunLengths, encodeRunLengths } from "../../lib/formats/run_length.ts";
import { Random } from "../../lib/random.ts";

Deno.test("runs go down the columns and begin with zeros, as COCO's", () => {
  // 0 1 1
  // 1 0 1
  const mask = Uint8Array.of(0, 1, 1, 1, 0, 1);
  const runs = encodeRunLengths(mask, { width: 3, height: 2 });
  assertEquals(runs, { size: [2, 3], counts: [1, 2, 1, 2] });
  const set = encodeRunLengths(Uint8Array.of(1, 255), { width: 2, height: 1 });
  assertEquals(set, { size: [1, 2], counts: [0, 2] });
});

Deno.test("a decoded mask is the one that was encoded", () => {
  const random = new Random(1);
  for (const [width, height] of [[1, 1], [7, 5], [5, 7], [64, 1]]) {
    for (const share of [0, 0.3, 1]) {
      const mask = Uint8Array.from(
        { length: width * height },
        () => Number(random.uniform() < share),
      );
      assertEquals(decodeRunLengths(encodeRunLengths(mask, { width, height })), mask);
    }
  }
});

Deno.test("runs of another length than the mask are refused", () => {
  assertThrows(() => decodeRunLengths({ size: [2, 2], counts: [3] }), RangeError, "2 x 2");
  assertThrows(() => decodeRunLengths({ size: [2, 2], counts: [3, 2] }), RangeError);
});
