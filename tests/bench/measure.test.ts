import { assertEquals } from "@std/assert";
import { interleaved, median, table, type Timed } from "./measure.ts";

/** A contestant that says how long it takes, and writes down that it ran. */
function contestant(name: string, milliseconds: number, log: string[]): Timed {
  return (repeats) => {
    log.push(`${name} ${repeats}`);
    return Promise.resolve(repeats * milliseconds);
  };
}

Deno.test("The median is the middle value, or the mean of the middle two", () => {
  assertEquals(median([5, 1, 3]), 3);
  assertEquals(median([4, 1, 3, 2]), 2.5);
});

Deno.test("Contestants are warmed up, then run in turns, as often as makes a run long enough", async () => {
  const log: string[] = [];
  const times = await interleaved({
    slow: contestant("slow", 250, log),
    fast: contestant("fast", 50, log),
  }, { rounds: 2 });
  assertEquals(times, { slow: 250, fast: 50 });
  assertEquals(log, [
    ...["slow 1", "slow 1", "fast 1", "fast 1"],
    ...["slow 1", "fast 4", "slow 1", "fast 4"],
  ]);
});

Deno.test("What takes longer than its budget is warmed up once and timed once", async () => {
  const log: string[] = [];
  await interleaved({ slow: contestant("slow", 20_000, log) }, { rounds: 5, budget: 30_000 });
  assertEquals(log, ["slow 1", "slow 1"]);
});

Deno.test("The first run of what is slow counts where all is warm", async () => {
  const log: string[] = [];
  const times = await interleaved({
    slow: contestant("slow", 20_000, log),
    fast: contestant("fast", 100, log),
  }, { rounds: 2, warm: true, budget: 30_000 });
  assertEquals(times, { slow: 20_000, fast: 100 });
  assertEquals(log, ["slow 1", "fast 1", "fast 2", "fast 2"]);
});

Deno.test("A table has numbers of three digits to the right, and a dash for what is not known", () => {
  assertEquals(
    table(["Kernel", "ms"], [["add", 1234.5], ["multiply", 0.012345], ["copy", NaN]]),
    [
      "| Kernel   |     ms |",
      "| -------- | -----: |",
      "| add      |   1235 |",
      "| multiply | 0.0123 |",
      "| copy     |      – |",
    ].join("\n"),
  );
});
