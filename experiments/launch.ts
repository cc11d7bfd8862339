// ./run COMMAND [arguments]: starts a command with the permissions that its arguments call for.
import { runMain } from "../lib/study/main.ts";
import { launch } from "../lib/study/launcher.ts";
import { commands } from "./commands.ts";

await runMain(async () => Deno.exit(await launch(commands, Deno.args)));
