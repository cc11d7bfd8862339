// ./run verify STUDY: every file of a study against the hashes that it was written with.
import { verifyStudy } from "../lib/report/publish.ts";
import { runCommand } from "../lib/study/main.ts";
import { commands } from "./commands.ts";

await runCommand(commands.verify, async ({ argument, values: { acceptChanges: accept } }) => {
  await verifyStudy(argument, { accept, log: console.log });
});
