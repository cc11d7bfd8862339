import { join } from "node:path";
import { excerpt } from "../../errors.ts";
import { endingOf } from "../../formats/volume_file.ts";
import { type Aside, list, type Listed, type Listing, type Source } from "./source.ts";

/** Names of the folder of images and of that of masks, in lower case. */
const FOLDERS = {
  image: ["images", "image", "imgs"],
  seg: ["masks", "mask", "labels", "annotations"],
} as const;

/** Two folders with a file of the same name for each case: `images/<case>.png` and `masks/<case>.png`. */
export const pictures: Source = {
  name: "images and masks",
  pattern: "images/<case>.png with masks/<case>.png",
  list: async (listing) => {
    const [images, masks] = await Promise.all(
      [FOLDERS.image, FOLDERS.seg].map((names) => filesOf(listing, names)),
    );
    if (images === null || masks === null) return null;
    const ids = [...new Set([...images.files.keys(), ...masks.files.keys()])];
    const scans = ids.map((id): Listed => ({
      id,
      image: images.files.get(id) ?? null,
      seg: masks.files.get(id) ?? null,
      lacks: {
        image: `has no image in ${images.name}: add it, or remove the mask`,
        seg: `has no mask in ${masks.name}: add it, or remove the image`,
      },
    }));
    const others = [...listing.folders, ...listing.files]
      .filter((name) => name !== images.name && name !== masks.name)
      .map((name): Aside => ({ name, reason: "is not of the layout" }));
    return { scans, aside: [...images.aside, ...masks.aside, ...others] };
  },
};

/** The volumes in the only folder of some names, by their own names without ending and `_mask`. */
async function filesOf(
  listing: Listing,
  names: readonly string[],
): Promise<{ name: string; files: Map<string, string>; aside: Aside[] } | null> {
  const [name, ...others] = listing.folders.filter((name) => names.includes(name.toLowerCase()));
  if (name === undefined || others.length > 0) return null;
  const inner = await list(join(listing.folder, name), join(listing.shown, excerpt(name)));
  const files = new Map<string, string>();
  const aside: Aside[] = [];
  for (const file of inner.files) {
    const ending = endingOf(file);
    const id = ending && file.slice(0, file.length - ending.length).replace(/[-_](mask|seg)$/i, "");
    if (id === null) aside.push({ name: join(name, file), reason: "is of no format that is read" });
    else if (files.has(id)) {
      aside.push({ name: join(name, file), reason: `is there as ${excerpt(id)} twice` });
    } else files.set(id, join(inner.folder, file));
  }
  return { name, files, aside };
}
