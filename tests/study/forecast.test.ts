import { assertEquals } from "@std/assert";
import { Forecast, passesOf, type PlannedRow } from "../../lib/study/forecast.ts";
import { DEFAULTS } from "../../lib/study/schema.ts";

const config = { ...DEFAULTS, epochs: [2], wiseFt: [1] };
const parts = { train: Array(20), validation: Array(10), test: Array(30) };

/** A study of vanilla and three ranks, and a clock set by hand. */
function study(experiments = ["vanilla", "lora_1", "lora_2", "lora_3"]) {
  const clock = { seconds: 0 };
  const rows = experiments.map((name): PlannedRow => {
    const kind = name === "vanilla" ? "vanilla" : "lora";
    const rank = kind === "lora" ? { rank: 1 } : {};
    const passes = passesOf({ name, kind, ...rank }, { config, parts });
    return { part: "", name, kind, passes };
  });
  const forecast = new Forecast(rows, {
    now: () => 1000 * clock.seconds,
    date: () => new Date(2026, 10, 29, 23, 50, clock.seconds),
  });
  /** Passes over slices, each taking so many seconds, the first batch some more. */
  const pass = (kind: "train" | "validation" | "test", seconds: number, more = 0) => {
    const total = parts[kind].length;
    forecast.start(kind, total);
    for (let done = 5; done <= total; done += 5) {
      clock.seconds += 5 * seconds + (done === 5 ? more : 0);
      forecast.advance(done);
    }
  };
  return { forecast, clock, pass };
}

Deno.test("a row passes over its slices once an epoch, and is scored once", () => {
  assertEquals(passesOf({ name: "peft", kind: "peft" }, { config, parts }), {
    train: 40,
    validation: 20,
    test: 30,
  });
  assertEquals(
    passesOf({ name: "vanilla", kind: "vanilla" }, { config, parts }).train,
    0,
  );
  const own = { name: "full", kind: "full", overrides: { epochs: 3 } } as const;
  assertEquals(passesOf(own, { config, parts }).train, 60);
  const tried = { ...config, wiseFt: [0.5, 0.75, 1] };
  assertEquals(passesOf({ name: "peft", kind: "peft" }, { config: tried, parts }).validation, 50);
});

Deno.test("a row passes over its slices for each candidate, and where another part has chosen for one", () => {
  const peft = { name: "peft", kind: "peft" } as const;
  const tried = { ...config, learningRate: [1, 2], epochs: [1, 3], wiseFt: [0.5, 1] };
  // Epochs 1, 3, 1 and 3; after each of four trainings two shares.
  assertEquals(passesOf(peft, { config: tried, parts }), {
    train: 8 * 20,
    validation: (8 + 4 * 2) * 10,
    test: 30,
  });
  const given = passesOf(peft, { config: tried, parts, isChosen: true });
  assertEquals([given.train, given.validation], [3 * 20, 3 * 10]);
  // Tumour-free slices: as many again to train on, and to choose the rule of presence with.
  const healthy = { train: Array(9), validation: Array(4), test: Array(6) };
  const free = { ...config, healthyShare: 0.5, wiseFt: [0.5, 1] };
  assertEquals(passesOf(peft, { config: free, parts, healthy }), {
    train: 2 * 40,
    validation: 2 * 10 + 2 * (10 + 14) + 14,
    test: 36,
  });
  assertEquals(passesOf({ name: "vanilla", kind: "vanilla" }, { config: free, parts, healthy }), {
    train: 0,
    validation: 14,
    test: 36,
  });
});

Deno.test("nothing is said of the end before every kind of row left was timed", () => {
  const { forecast, clock, pass } = study();
  forecast.begin("", "vanilla");
  assertEquals([forecast.place, `${forecast}`], ["row 1 of 4", ""]);
  pass("test", 2, 100); // 30 slices, 2 s each, 100 s of compiling
  assertEquals(`${forecast}`, "");
  forecast.begin("", "lora_1");
  assertEquals([forecast.place, `${forecast}`], ["row 2 of 4", ""]);
  forecast.start("train", 20);
  clock.seconds += 50;
  forecast.advance(10); // with compiling: all that is known yet
  clock.seconds += 30;
  forecast.advance(20); // 3 s a slice
  // 20 more of training and 20 of validation at 3 s, 30 of scoring at 2 s; then 40, 20 and 30, twice.
  const [row, rest] = [60 + 60 + 60, 2 * (120 + 60 + 60)];
  const end = new Date(2026, 10, 29, 23, 50, clock.seconds + row + rest);
  const time = end.toTimeString().slice(0, 5);
  assertEquals(`${forecast}`, `row done in 3 min 0 s, all at about ${time} on 30 Nov`);
});

Deno.test("validation has its own pace once it was timed, and a later pass corrects an earlier one", () => {
  const { forecast, pass } = study(["lora_1"]);
  forecast.begin("", "lora_1");
  assertEquals(forecast.place, "");
  pass("train", 9);
  assertEquals(`${forecast}`, `training done in 6 min 0 s`); // 20 + 20 at 9 s; scoring is unknown
  pass("validation", 1);
  assertEquals(`${forecast}`, `training done in 3 min 10 s`);
  pass("train", 2);
  pass("validation", 1);
  forecast.leave({ train: 0, validation: 0 });
  forecast.start("test", 30);
  assertEquals(`${forecast}`, "");
});

Deno.test("a row that goes on has less left; rows before it count no more", () => {
  const { forecast, clock } = study(["lora_1", "lora_2"]);
  forecast.begin("", "lora_2");
  forecast.leave({ train: 10, validation: 0 });
  forecast.start("train", 20, 10);
  clock.seconds += 8;
  forecast.advance(14);
  assertEquals(`${forecast}`, "training done in 12 s"); // 2 s a slice from the tenth on
});
