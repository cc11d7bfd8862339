import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";

const root = join(import.meta.dirname!, "..", "..");

/** Tools that `run` uses beside Deno and npm. */
const TOOLS = ["sh", "readlink", "dirname", "uname", "mkdir", "mv", "rm", "id"];

async function writeProgram(path: string, text: string): Promise<void> {
  await Deno.mkdir(join(path, ".."), { recursive: true });
  await Deno.writeTextFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

/** A stand-in for Deno that says its version, and else who it is and what it was asked to run. */
const standIn = (name: string, version: string) =>
  `if [ "$1" = --version ]; then echo "deno ${version} (stand-in)"; else echo "${name}"; fi
  for argument; do echo "$argument"; done`;

Deno.test({
  name: "run takes Deno from PATH or its own folder, never from the folder that it is called from",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const [checkout, bin, calls] = ["check out", "bin", "calls"].map((name) => join(folder, name));
    const caller = join(folder, "caller");
    try {
      await Deno.mkdir(checkout);
      await Deno.copyFile(join(root, "run"), join(checkout, "run"));
      for (const name of ["deno/bin.cjs", ".bin/deno", "@deno/linux-x64-glibc/deno"]) {
        await writeProgram(join(caller, "node_modules", name), "echo hijacked");
      }
      for (const tool of TOOLS) {
        const found = ["/bin", "/usr/bin"].map((path) => join(path, tool))
          .find((path) => Deno.statSync(path).isFile);
        await Deno.mkdir(bin, { recursive: true });
        await Deno.symlink(found!, join(bin, tool));
      }
      // Fetches what is asked for into the folder that is named.
      await writeProgram(
        join(bin, "npm"),
        `echo "$PWD $*" >> "${calls}"
        mkdir -p node_modules/@deno/here
        printf '%s\n' '#!/bin/sh' '${standIn("own", "2.9.6")}' > node_modules/@deno/here/deno
        /bin/chmod +x node_modules/@deno/here/deno`,
      );
      const run = async () => {
        const { code, stdout, stderr } = await new Deno.Command("/bin/sh", {
          args: [join(checkout, "run"), "experiments", "--out", "a b"],
          cwd: caller,
          env: { PATH: bin, VK_DRIVER_FILES: "here" },
          clearEnv: true,
        }).output();
        const decoder = new TextDecoder();
        assertEquals(code, 0, decoder.decode(stderr));
        const [name, ...args] = decoder.decode(stdout).trim().split("\n");
        const launch = join(checkout, "experiments", "launch.ts");
        assertEquals(args.slice(args.indexOf(launch)), [launch, "experiments", "--out", "a b"]);
        assertEquals(args[args.indexOf("--config") + 1], join(checkout, "deno.json"));
        return name;
      };
      assertEquals(await run(), "own");
      assertEquals(await run(), "own");
      const [call, ...again] = (await Deno.readTextFile(calls)).trim().split("\n");
      assertEquals(again, [], "it is fetched once");
      assertMatch(
        call,
        /check out\/\.deno\/2\.9\.6\.\d+ install .*--ignore-scripts.* deno@2\.9\.6$/,
      );

      await writeProgram(join(bin, "deno"), standIn("from PATH", "2.8.3"));
      assertEquals(await run(), "own", "an older one is passed over");
      await writeProgram(join(bin, "deno"), standIn("from PATH", "2.10.0"));
      assertEquals(await run(), "from PATH");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
