import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { asideLine, openDataset } from "../../lib/data/dataset.ts";
import { InputError } from "../../lib/errors.ts";
import { inTemporaryFolder } from "./temporary.ts";

/** Makes empty files: opening a data set must not read any. */
async function touch(root: string, ...paths: string[]) {
  for (const path of paths) {
    await Deno.mkdir(join(root, path, ".."), { recursive: true });
    await Deno.writeFile(join(root, path), new Uint8Array(0));
  }
}

Deno.test("cases are listed in order, without reading voxels, other files and folders aside", () =>
  inTemporaryFolder(async (root) => {
    await touch(
      root,
      "BraTS-MEN-00004-001/BraTS-MEN-00004-001-t1c.nii.gz",
      "BraTS-MEN-00004-001/BraTS-MEN-00004-001-t1n.nii.gz",
      "BraTS-MEN-00004-001/BraTS-MEN-00004-001-seg.nii.gz",
      "BraTS-MEN-00004-000/BraTS-MEN-00004-000-t1c.nii",
      "BraTS-MEN-00004-000/BraTS-MEN-00004-000-seg.nii",
      "notes/readme.txt",
      ".git/x.nii",
      "LICENSE",
    );
    const dataset = await openDataset(root);
    assertEquals(dataset.cases.map((c) => c.id), ["BraTS-MEN-00004-000", "BraTS-MEN-00004-001"]);
    assertEquals(dataset.grouping, "1 patient in 2 cases (by BraTS names)");
    assertEquals(
      asideLine("data", dataset.aside),
      "Left aside in data: notes holds no scan; LICENSE is of no format that is read.",
    );
    const { load: _, ...first } = dataset.cases[0];
    assertEquals(first, {
      id: "BraTS-MEN-00004-000",
      patient: "BraTS-MEN-00004",
      image: join(root, "BraTS-MEN-00004-000/BraTS-MEN-00004-000-t1c.nii"),
      channel: null,
      seg: join(root, "BraTS-MEN-00004-000/BraTS-MEN-00004-000-seg.nii"),
    });
  }));

for (
  const [asked, modality, file] of [
    ["t1c", "t1c", "a_t1ce.nii.gz"],
    ["t1ce", "t1c", "a-t1c.nii.gz"],
    ["t1n", "t1n", "a_t1.nii.gz"],
    ["t1", "t1n", "a-t1n.nii"],
    ["flair", "t2f", "a-t2f.nii.gz"],
    ["t2f", "t2f", "a_flair.nii.gz"],
    ["T2", "t2w", "a_t2.nii.gz"],
  ] as const
) {
  Deno.test(`modality ${asked} finds ${file}`, () =>
    inTemporaryFolder(async (root) => {
      await touch(root, `a/${file}`, "a/a_seg.nii.gz");
      const dataset = await openDataset(root, { modality: asked });
      assertEquals(dataset.modality, modality);
      assertEquals(dataset.cases[0].image, join(root, "a", file));
    }));
}

Deno.test("a missing folder, no cases, no seg, no such modality are each one clear sentence", () =>
  inTemporaryFolder(async (root) => {
    const refuse = (path: string, options: { modality?: string }, text: string) =>
      assertRejects(() => openDataset(path, options), InputError, text);
    await refuse(join(root, "none"), {}, "cannot read the data folder");
    await refuse(root, {}, "holds no cases");
    await touch(root, "a-1-0/a-1-0-t1c.nii.gz");
    await refuse(root, {}, "case a-1-0 in");
    await refuse(root, {}, "has no segmentation: add a-1-0-seg.nii.gz");
    await touch(root, "a-1-0/a-1-0-seg.nii.gz");
    await refuse(root, { modality: "t2f" }, "has no t2f image: add a-1-0-t2f.nii.gz");
    await refuse(root, { modality: "ct" }, 'unknown modality "ct"');
    await Deno.symlink(join(root, "gone"), join(root, "broken"));
    await refuse(root, {}, "broken");
  }));
