const FOLDER = new URL("../../kernels/", import.meta.url);

/** WGSL files by their names below kernels/, with their text. */
export function* wgslFiles(path = ""): Generator<[name: string, text: string]> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(path, FOLDER))) {
    if (isDirectory) yield* wgslFiles(`${path}${name}/`);
    else if (name.endsWith(".wgsl")) {
      yield [path + name, Deno.readTextFileSync(new URL(path + name, FOLDER))];
    }
  }
}

/** Names of the WGSL files that are a part of some shader: those whose opening comment it has. */
export function filesIn(shaders: readonly string[]): string[] {
  return [...wgslFiles()].filter(([, text]) => {
    const [comment] = /^(?:\/\/.*\n)+/.exec(text)!;
    return shaders.some((code) => code.includes(comment));
  }).map(([name]) => name);
}
