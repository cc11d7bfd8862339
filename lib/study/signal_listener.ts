/**
 * Worker that hears signals while the main thread is busy: compiling a kernel holds the event loop there,
 * and signals are told between its turns only. The first one is written where the main thread can look
 * without a turn (see `Interruption`), and told it as a message too.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import type { Listening } from "./interruption.ts";

/** Milliseconds within which signals are one. */
const PRESS = 300;

/** Milliseconds between looks at whether the launcher is still there. */
const WATCH = 1000;

/** Time of the last checkpoint while something can save its state; null while there is nothing to lose. */
let keptAt: string | null = null;
let presses = 0;
let pressedAt = -Infinity;

function listen({ names, heard, launcher }: Listening): void {
  const listeners = names.map((name, i) => [name, () => hear(i)] as const);
  const forget = () => {
    for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
  };
  const hear = (i: number) => {
    const now = performance.now();
    if (now - pressedAt < PRESS) return;
    pressedAt = now;
    presses++;
    if (presses === 1) {
      if (keptAt !== null) tell(`\n${names[i]}: saving, then ending`);
      Atomics.store(heard, 0, i + 1);
      self.postMessage("heard");
    } else if (presses === 2) {
      tell(
        keptAt === null
          ? "Ending. Once more ends at once"
          : `Still saving. Once more ends at once, and loses what was done since ${keptAt}`,
      );
      setTimeout(forget, PRESS); // then the system ends the process
    }
  };
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  // Windows goes on naming a parent that has ended: there its end is not seen.
  const watch = setInterval(() => {
    if (launcher === null || Deno.ppid === launcher) return;
    clearInterval(watch);
    hear(names.indexOf("SIGHUP"));
  }, WATCH);
}

/** Prints a line, if there is still a terminal to print it on. */
function tell(line: string): void {
  try {
    console.error(line);
  } catch {
    // A closing terminal is what the signal was about.
  }
}

self.onmessage = ({ data }: MessageEvent<Listening | string | null>) => {
  if (data !== null && typeof data === "object") {
    listen(data);
    self.postMessage("listening");
  } else keptAt = data;
};
