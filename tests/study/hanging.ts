// A program whose state takes for ever to save, and whose main thread is busy where `busy` is asked for.
import { Interruption } from "../../lib/study/interruption.ts";

using interruption = await Interruption.start();
await interruption.saving(() => {
  console.log("ready");
  while (Deno.args[0] === "busy");
  return new Promise((resolve) => setTimeout(resolve, 60_000));
});
