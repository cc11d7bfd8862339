import { assertEquals } from "@std/assert";
import { crc32c, encodeEvent, eventFileHead } from "../../lib/formats/event_file.ts";
import fixtures from "./fixtures/events.json" with { type: "json" };

Deno.test("CRC-32C has the value that its specification checks by", () => {
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
});

Deno.test("event files have the bytes that TensorBoard's own writer makes", () => {
  const png = Uint8Array.from({ length: 40 }, (_, i) => i);
  assertEquals(eventFileHead(1.5).toHex(), fixtures.head);
  const scalars = { "loss/train": 0.125, dice: 0 };
  assertEquals(
    encodeEvent({ time: 1796000000.25, step: 300, scalars }).toHex(),
    fixtures.scalars,
  );
  const images = { "contact sheet": { width: 640, height: 3, png } };
  assertEquals(encodeEvent({ time: 2, step: 1, images }).toHex(), fixtures.image);
  assertEquals(encodeEvent({ time: 3, step: 2, isEnd: true }).toHex(), fixtures.end);
  const values = { learningRate: 0.003, model: "mobile_sam", earlyStopping: false };
  for (const [name, value] of Object.entries(values)) {
    assertEquals(
      encodeEvent({ time: 1.5, step: 0, hyperParameters: { [name]: value } }).toHex(),
      fixtures.start[name as keyof typeof values],
      name,
    );
  }
});
