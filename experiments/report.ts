// deno task report results/<study>: the study as one HTML page, and as Markdown with pictures.
import { parseArgs } from "@std/cli/parse-args";
import { InputError } from "../lib/errors.ts";
import { runMain } from "../lib/study/main.ts";
import { writeReport } from "../lib/report/publish.ts";

const usage = `usage: ./run report STUDY [--pictures DIR]

  STUDY            the folder of a study, such as results/default
  --pictures DIR   the study's data set, slices of which are then shown in the report (those of the embedded sample always are)
`;

await runMain(async () => {
  const { _: folders, pictures, help } = parseArgs(Deno.args, {
    string: ["pictures", "_"],
    boolean: ["help"],
    unknown: (argument, key) => {
      if (key === undefined) return true;
      throw new InputError(`there is no option ${argument.split("=")[0]}: --help lists them`);
    },
  });
  if (help) return console.log(usage);
  if (folders.length !== 1 || pictures === "") {
    throw new InputError("usage: ./run report STUDY [--pictures DIR]: --help says more");
  }
  await writeReport(String(folders[0]), { pictures: pictures ?? null, log: console.log });
});
