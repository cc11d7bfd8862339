/**
 * Tries what the main job may do and what it may not, and prints what became of each:
 *   forbidden.ts DATA FILE_ELSEWHERE FOLDER_ELSEWHERE
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createConnection } from "node:net";
import { hostname } from "node:os";

const [data, file, folder] = Deno.args;

const attempts: Record<string, () => unknown> = {
  "read the data": () => Array.from(Deno.readDirSync(data)),
  "write the results": () => Deno.writeTextFileSync("out/table.md", "replaced"),
  "see the cache's place": () => Deno.env.get("SAMLORA_CACHE"),
  "read a file elsewhere": () => Deno.readTextFileSync(file),
  "read a file elsewhere through node": () => readFileSync(file),
  "read out of the data by dots": () => Deno.readTextFileSync(`${data}/../../../etc/passwd`),
  "list the folder that holds the data": () => Array.from(Deno.readDirSync(".")),
  "write elsewhere": () => Deno.mkdirSync(folder),
  "write to the data": () => Deno.writeTextFileSync(`${data}/x`, ""),
  "write to the packages": () => Deno.removeSync(new URL("../../node_modules", import.meta.url)),
  "fetch": () => fetch("http://127.0.0.1:40009/"),
  "connect": () =>
    new Promise((resolve, reject) =>
      createConnection(40009, "127.0.0.1", () => resolve(null)).on("error", reject)
    ),
  "run a program": () => execFileSync("true"),
  "open a library": () => Deno.dlopen("libc.so.6", {}),
  "see another variable": () => Deno.env.get("PATH"),
  "ask the system": () => hostname(),
};

const outcomes: Record<string, string> = {};
for (const [what, attempt] of Object.entries(attempts)) {
  try {
    await attempt();
    outcomes[what] = "done";
  } catch (error) {
    outcomes[what] = error instanceof Deno.errors.NotCapable ? "NotCapable" : String(error);
  }
}
console.log(JSON.stringify(outcomes));
