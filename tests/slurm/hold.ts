/**
 * Holds a task after a checkpoint, amid an epoch, as long as a file `logs/hold_N` lies in the study, N being its
 * number; `logs/held_N` is there meanwhile, and signals are heard. In a copy of the package `task.ts` loads it
 * first (see `HeldPackage`), so that the package itself has no hook for it.
 *
 * @module
 */
const [study, number] = Deno.args;
const { rename } = Deno;

Deno.rename = async (from, to) => {
  await rename(from, to);
  if (!/checkpoint\/\d+\.safetensors$/.test(String(to))) return;
  const isHeld = () => Deno.stat(`${study}/logs/hold_${number}`).then(() => true, () => false);
  if (!await isHeld()) return;
  await Deno.writeTextFile(`${study}/logs/held_${number}`, "");
  while (await isHeld()) await new Promise((done) => setTimeout(done, 20));
  await Deno.remove(`${study}/logs/held_${number}`);
};
