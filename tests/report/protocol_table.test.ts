import { assertEquals } from "@std/assert";
import { protocolText } from "../../lib/report/protocol_table.ts";

Deno.test("slices that no prompt can be drawn in give a sentence and no empty table", () => {
  assertEquals(
    protocolText({ prompts: {}, clicks: [], strataEdges: null }),
    "No slice has tumour to draw a prompt from: there is nothing to score.\n",
  );
});
