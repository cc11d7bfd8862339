import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Progress } from "../../lib/study/progress.ts";

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

Deno.test("without a terminal there is one plain line for each tenth of the way", () => {
  const { recorded, options } = recorder(false);
  const progress = new Progress({ label: "epoch 1/3", total: 200, ...options });
  for (let done = 1; done <= 200; done++) {
    recorded.milliseconds = done * 250;
    progress.update({ done, loss: 1.23456, dice: 0.5 });
  }
  const lines = recorded.text.trimEnd().split("\n");
  assertEquals(lines.length, 10);
  assertEquals(
    lines[0],
    "epoch 1/3  20/200  loss 1.2346  Dice 0.500  4.00 slices/s  0:45 left",
  );
  assert(!recorded.text.includes("\r") && !recorded.text.includes("\x1b"), "plain text");
});

Deno.test("a pass of few slices prints each once", () => {
  const { recorded, options } = recorder(false);
  const progress = new Progress({ label: "test", total: 3, ...options });
  for (const done of [1, 2, 3]) progress.update({ done, slicesPerSecond: 1 });
  progress.finish("test: Dice 0.900");
  assertEquals(recorded.text.split("\n"), [
    "test 1/3  1.00 slices/s  0:02 left",
    "test 2/3  1.00 slices/s  0:01 left",
    "test 3/3  1.00 slices/s  0:00 left",
    "test: Dice 0.900",
    "",
  ]);
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

Deno.test("finishing on a terminal clears the bar and leaves the summary", () => {
  const { recorded, options } = recorder(true);
  const progress = new Progress({ label: "epoch 1/3", total: 4, ...options });
  progress.update({ done: 4 });
  progress.finish("done");
  assert(recorded.text.endsWith("\r\x1b[2Kdone\n"));
});

Deno.test("the time left grows an hours field when it needs one", () => {
  const { recorded, options } = recorder(false);
  const progress = new Progress({ label: "study", total: 100000, ...options });
  progress.update({ done: 10000, slicesPerSecond: 10 });
  assertStringIncludes(recorded.text, "2:30:00 left");
});
