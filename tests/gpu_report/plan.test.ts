import { assertEquals, assertStringIncludes } from "@std/assert";
import type { DeviceList } from "../../lib/study/devices.ts";
import { group } from "./pack.ts";
import { writePage } from "./page.ts";
import { type Outcome, type Part, part } from "./part.ts";
import { runParts } from "./plan.ts";

const adapter = { name: "a card", vendor: "", driver: "", type: "GPU", features: [] } as const;
const devices: DeviceList = { devices: [], chosen: -1, unused: null };

/** A part that does this. */
function fake(name: string, run: Part["run"], options: Partial<Part> = {}): Part {
  return part({
    name,
    title: `Part ${name}`,
    needs: { GPU: 1, CPU: 1e6 },
    run,
    headline: (result) => `${name} came to ${result}.`,
    blocks: (result) => [{ kind: "paragraph", text: `figures: ${result}` }],
    ...options,
  });
}

/** Waits until its time is over or it is stopped. */
const untilStopped: Part["run"] = ({ signal }) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("killed"))));

async function outcomesOf(parts: readonly Part[], seconds = 60, stop = new AbortController()) {
  const given = { adapter, devices, python: null, seconds, stop: stop.signal };
  const outcomes: Outcome[] = [];
  for await (const outcome of runParts(parts, given)) outcomes.push(outcome);
  return outcomes;
}

const states = (outcomes: readonly Outcome[]) =>
  outcomes.map(({ name, state, reason, result }) => [name, state, reason, result]);

Deno.test("a part that fails, is cut short or does not fit leaves the others their time", async () => {
  const outcomes = await outcomesOf([
    fake("fails", () => Promise.reject(new Error("error: no such card.\nand a trace"))),
    fake("cut", (context) => (context.keep(7), untilStopped(context)), { most: 0.01 }),
    fake("empty", untilStopped, { most: 0.01 }),
    fake("large", () => Promise.resolve(1), { needs: { GPU: 1000, CPU: 0 } }),
    fake("done", () => Promise.resolve(42)),
  ]);
  assertEquals(states(outcomes).map(([name, state, , result]) => [name, state, result]), [
    ["fails", "failed", null],
    ["cut", "partial", 7],
    ["empty", "not run", null],
    ["large", "not run", null],
    ["done", "done", 42],
  ]);
  assertEquals(outcomes[0].reason, "no such card");
  assertEquals(outcomes[1].reason, "its 0.01 seconds were over");
  assertStringIncludes(outcomes[3].reason!, "it takes 1000 seconds");
});

Deno.test("a stopped report keeps what there is, and begins nothing more", async () => {
  const stop = new AbortController();
  const outcomes = await outcomesOf(
    [
      fake("first", (context) => {
        context.keep("half");
        stop.abort();
        return Promise.reject(new Error("killed"));
      }),
      fake("second", () => Promise.resolve(1)),
    ],
    60,
    stop,
  );
  assertEquals(states(outcomes), [
    ["first", "partial", "the report was stopped", "half"],
    ["second", "not run", "the report was stopped", null],
  ]);
});

Deno.test("the page says the most telling first, then figures, and names what was not run", async () => {
  const parts = [
    fake("done", () => Promise.resolve(42)),
    fake("large", () => Promise.resolve(1), { needs: { GPU: 1000, CPU: 0 } }),
    fake("fails", () => Promise.reject(new Error("no such card"))),
  ];
  const outcomes = await outcomesOf(parts);
  const environment = {
    adapter,
    deno: "2",
    os: "linux",
    samlora: "0",
    commit: null,
    weights: "",
    command: "./run gpu-report",
    date: "2026-11-29T00:00:00Z",
  };
  const out = await Deno.makeTempDir();
  await writePage(out, { environment, minutes: 1, outcomes }, parts);
  const html = await Deno.readTextFile(`${out}/report.html`);
  const places = ["done came to 42.", "Failed: Part fails: no such card.", "figures: 42", "not run"]
    .map((text) => html.indexOf(text));
  assertEquals(places.includes(-1), false);
  assertEquals(places, places.toSorted((a, b) => a - b));
  const json = JSON.parse(await Deno.readTextFile(`${out}/report.json`));
  assertEquals(json.outcomes.map(({ state }: Outcome) => state), ["done", "not run", "failed"]);
  await Deno.remove(out, { recursive: true });
});

Deno.test("archives are filled in order, and no file is left out", () => {
  const sizes = [1, 40, 20, 55, 5, 51].map((mebibytes) => mebibytes * 2 ** 20);
  const entries = sizes.map((bytes, i) => ({ root: "", path: String(i), bytes }));
  const groups = group(entries);
  assertEquals(groups.map((group) => group.map(({ path }) => Number(path))), [
    [0, 1],
    [2],
    [3],
    [4],
    [5],
  ]);
});
