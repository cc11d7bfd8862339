/**
 * A worker that hears SIGINT and SIGTERM while the main thread is busy: compiling a kernel holds the event
 * loop there, and signals are told between its turns only. The first one is written where the main
 * thread can look without a turn (see {@linkcode Interruption}), and told it as a message too. The
 * second finds no listener, so the system ends the process at once.
 *
 * @module
 */
/// <reference lib="deno.worker" />

self.onmessage = ({ data }: MessageEvent<{ names: Deno.Signal[]; heard: Int32Array }>) => {
  const { names, heard } = data;
  const listeners = names.map((name, i) => [name, () => hear(i)] as const);
  const hear = (i: number) => {
    for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    Atomics.store(heard, 0, i + 1);
    self.postMessage("heard");
  };
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  self.postMessage("listening");
};
