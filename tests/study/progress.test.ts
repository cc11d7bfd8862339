import { assert, assertEquals } from "@std/assert";
import { duration, Progress } from "../../lib/study/progress.ts";

/** A stream that keeps what is written, and a clock that is set by hand. */
function recorder(terminal: boolean) {
  const recorded = { text: "", milliseconds: 0 };
  const options = {
    stream: {
      isTerminal: () => terminal,
      writeSync(bytes: Uint8Array) {
        const taken = bytes.subarray(0, 3); // a pipe may take less than it is given
        recorded.text += Array.from(taken, (byte) => String.fromCharCode(byte)).join("");
        return taken.length;
      },
    },
    now: () => recorded.milliseconds,
  };
  return { recorded, options };
}

Deno.test("without a terminal there is a plain line a minute", () => {
  const { recorded, options } = recorder(false);
  const progress = new Progress({ label: "epoch 1/3", total: 1000, ...options });
  for (let done = 1; done <= 1000; done++) {
    recorded.milliseconds = done * 250;
    progress.update({ done, loss: 1.23456, dice: 0.5 });
  }
  const lines = recorded.text.trimEnd().split("\n");
  assertEquals(lines.length, 4);
  assertEquals(
    lines[0],
    "epoch 1/3, 240/1000 slices, done in 3 min 10 s, loss 1.2346, Dice 0.500",
  );
  assert(!recorded.text.includes("\r") && !recorded.text.includes("\x1b"), "plain text");
});

Deno.test("in a log the line that stays says what is to come; on a terminal the next line does", () => {
  const forecast = () => "row done in 5 s, all at about 14:32";
  for (const [terminal, after] of [[false, `; ${forecast()}\n`], [true, "\n"]] as const) {
    const { recorded, options } = recorder(terminal);
    const progress = new Progress({ label: "test", total: 3, forecast, ...options });
    progress.update({ done: 1 });
    progress.finish("test: Dice 0.900");
    assert(recorded.text.endsWith(`test: Dice 0.900${after}`), recorded.text);
    assertEquals(recorded.text.includes(`test, 1/3 slices, ${forecast()}`), terminal);
  }
});

Deno.test("on a terminal the line is redrawn in place at most ten times a second", () => {
  const { recorded, options } = recorder(true);
  const progress = new Progress({ label: "epoch 1/3", total: 1000, ...options });
  for (let done = 1; done <= 500; done++) {
    recorded.milliseconds = done * 2; // 500 updates in one second
    progress.update({ done });
  }
  const draws = recorded.text.split("\r").length - 1;
  assert(draws >= 9 && draws <= 11, `${draws} draws`);
  assert(!recorded.text.includes("\n"));
});

Deno.test("finishing on a terminal clears the line and leaves the summary", () => {
  const { recorded, options } = recorder(true);
  const progress = new Progress({ label: "epoch 1/3", total: 4, ...options });
  progress.update({ done: 4 });
  progress.finish("done");
  assert(recorded.text.endsWith("\r\x1b[2Kdone\n"));
});

Deno.test("a reader that has seen enough stops no work", () => {
  const stream = {
    isTerminal: () => false,
    writeSync(): number {
      throw new Deno.errors.BrokenPipe("Broken pipe");
    },
  };
  new Progress({ label: "test", total: 3, stream }).finish("test: Dice 0.9");
});

Deno.test("durations have two units at most, and none that is full", () => {
  const texts = [0, 7.4, 59.6, 100, 3599.7, 3600, 11_100, 86_399, 187_200].map(duration);
  assertEquals(texts, [
    "0 s",
    "7 s",
    "1 min 0 s",
    "1 min 40 s",
    "1 h 00 min",
    "1 h 00 min",
    "3 h 05 min",
    "1 d 0 h",
    "2 d 4 h",
  ]);
});
