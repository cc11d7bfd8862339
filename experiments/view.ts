// ./run view [SCAN]: the page in which a scan is segmented by clicks, served on this machine or written as files.
import { basename, join } from "node:path";
import { filesOf } from "../lib/data/detached.ts";
import { excerpt, InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { runCommand } from "../lib/study/main.ts";
import { adapterPath, SHIPPED_NAMES } from "../lib/study/shipped.ts";
import { SAMPLE } from "../lib/study/study_data.ts";
import { POLICY, type SiteFile, siteFiles } from "../lib/view/site.ts";
import { commands, opener } from "./commands.ts";

/** Slice of the sample that the page begins with. */
const FIRST = "CHENG-MEN-101127-000";

const ABOUT = "The first picture is a slice of the brain tumor dataset by Jun Cheng, figshare, " +
  "doi:10.6084/m9.figshare.1512427 (CC BY 4.0), at half its resolution.";

/** Files of a scan: one, or those of a folder. */
async function scanFiles(path: string): Promise<string[]> {
  const entry = await Deno.stat(path).catch((error) => {
    throw new InputError(`cannot read ${excerpt(path)} (${error.message}): check the path`);
  });
  if (!entry.isDirectory) return filesOf(path);
  const files = [...Deno.readDirSync(path)].filter(({ isFile, name }) =>
    isFile && !name.startsWith(".")
  );
  if (files.length > 0) return files.map(({ name }) => join(path, name)).sort();
  throw new InputError(`${excerpt(path)} holds no files: name a scan, or the folder of a series`);
}

/** Answers requests for the site's files, and no others. */
function handler(files: ReadonlyMap<string, SiteFile>, port: () => number) {
  return async (request: Request): Promise<Response> => {
    const { pathname, host } = new URL(request.url);
    // Another site's page may not read scans through a name of its own for this address.
    const isOwn = [`127.0.0.1:${port()}`, `localhost:${port()}`].includes(host);
    if (!isOwn) return new Response("This address is not the page's.", { status: 403 });
    const file = files.get(decodeURIComponent(pathname.slice(1)) || "index.html");
    if (!file) return new Response("There is no such file.", { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Files can be fetched alone.", { status: 405 });
    }
    const headers = {
      "content-type": file.type,
      "content-security-policy": `${POLICY}; frame-ancestors 'none'`,
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache",
    };
    return new Response(request.method === "HEAD" ? null : await file.read(), { headers });
  };
}

/** Serves the site until the program is stopped. */
async function serve(
  files: ReadonlyMap<string, SiteFile>,
  { port, open }: { port: number; open: boolean },
): Promise<void> {
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve(
      { hostname: "127.0.0.1", port, onListen: () => {} },
      handler(files, () => server.addr.port),
    );
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new InputError(
      `port ${port} is in use, perhaps by another ./run view: close that, or choose --port`,
    );
  }
  const address = `http://127.0.0.1:${server.addr.port}/`;
  console.log(`Open ${address} in a browser with WebGPU; Ctrl-C ends it.`);
  const [program] = open ? opener() : [];
  if (program !== undefined) {
    const child = new Deno.Command(program, { args: [address], stdout: "null", stderr: "null" });
    child.spawn().unref();
  }
  await server.finished;
}

/** Writes the site as static files. */
async function write(files: ReadonlyMap<string, SiteFile>, folder: string): Promise<void> {
  let bytes = 0;
  for (const [name, file] of files) {
    const content = await file.read();
    bytes += content.length;
    await writeFileAtomic(join(folder, ...name.split("/")), content);
  }
  console.log(
    `Written: ${excerpt(folder)}, ${files.size} files, ${
      (bytes / 1e6).toFixed(1)
    } MB. Any web server ` +
      `can serve it, from any folder; browsers give WebGPU to https and to 127.0.0.1 alone.`,
  );
}

await runCommand(commands.view, async ({ argument, given, values }) => {
  const { build, adapter, model, weights } = values;
  if (build !== null && await Deno.stat(build).then(() => true, () => false)) {
    throw new InputError(`--build ${excerpt(build)} exists: name a new folder`);
  }
  const own = argument === "";
  const scan = own ? [join(SAMPLE, FIRST, `${FIRST}-t1c.nii.gz`)] : await scanFiles(argument);
  // The adapters of the package are MobileSAM's.
  const shipped = model === "mobile_sam" && weights === null ? SHIPPED_NAMES : [];
  const isPath = adapter !== null && adapter !== "vanilla" && !shipped.includes(adapter);
  const paths = [...isPath ? [adapter] : [], ...shipped];
  const nameOf = (path: string) => shipped.includes(path) ? path : basename(path);
  const first = adapter === "vanilla" ? null : adapter ?? shipped[0] ?? null;
  const files = await siteFiles({
    model,
    weights,
    side: given.side ?? null,
    adapters: paths.map((path) => ({ name: nameOf(path), path: adapterPath(path) })),
    adapter: first && nameOf(first),
    scan,
    about: own ? ABOUT : null,
  });
  if (build !== null) await write(files, build);
  else await serve(files, values);
});
