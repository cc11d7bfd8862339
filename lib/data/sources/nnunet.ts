import { dirname, join } from "node:path";
import * as v from "valibot";
import { excerpt, InputError } from "../../errors.ts";
import { readIfThere } from "../../fs.ts";
import { endingOf, VOLUME_ENDINGS } from "../../formats/volume_file.ts";
import { type LabelSchemeName, schemeOfMeanings } from "../target.ts";
import { type Modality, MODALITY_NAMES } from "./names.ts";
import { type Contents, list, type Listed, type Listing, type Source } from "./source.ts";

const datasetSchema = v.object({
  /** Channel number to its name; version 1 of nnU-Net says `modality`. */
  channel_names: v.optional(v.record(v.string(), v.string())),
  modality: v.optional(v.record(v.string(), v.string())),
  file_ending: v.optional(v.string(), ".nii.gz"),
  /** Label to its name or, from version 2 on, the other way round. */
  labels: v.optional(v.record(v.string(), v.unknown()), {}),
});

/** The channels of a data set by number, and the ending of its files. */
interface Description {
  readonly channels: Readonly<Record<string, string>>;
  readonly ending: string;
  readonly labels: LabelSchemeName | null;
}

/**
 * nnU-Net's layout: `imagesTr/<case>_0000.nii.gz`, a file a channel, beside `labelsTr/<case>.nii.gz`,
 * with `dataset.json` saying which channel is which (documentation/dataset_format.md of nnU-Net 2).
 * Cases are those of labelsTr; a folder of images such as imagesTs can be given by itself. The Medical
 * Segmentation Decathlon has all channels in one file, `imagesTr/<case>.nii.gz`.
 */
export const nnunet: Source = {
  name: "nnU-Net",
  pattern: "imagesTr/<case>_0000.nii.gz with labelsTr/<case>.nii.gz and dataset.json",
  list: async (listing, modality) => {
    if (listing.folders.includes("imagesTr") && listing.folders.includes("labelsTr")) {
      return await listDataset(listing, modality);
    }
    return await listImages(listing, modality);
  },
};

/** The labelled cases of a data set. */
async function listDataset(listing: Listing, modality: Modality): Promise<Contents> {
  const { folder, shown } = listing;
  const { channels, ending, labels: scheme } = await readDescription(listing);
  const channel = channelOf(channels, { modality, shown });
  const images = await list(join(folder, "imagesTr"), join(shown, "imagesTr"));
  const labels = await list(join(folder, "labelsTr"), join(shown, "labelsTr"));
  const scans = labels.files.filter((name) => name.endsWith(ending)).map((name): Listed => {
    const id = name.slice(0, -ending.length);
    const image = `${id}_${channel.padStart(4, "0")}${ending}`;
    const isThere = images.files.includes(image);
    const isWhole = !isThere && images.files.includes(name);
    return {
      id,
      image: isThere || isWhole ? join(images.folder, isWhole ? name : image) : null,
      ...(isWhole && Object.keys(channels).length > 1 && { channel: Number(channel) }),
      seg: join(labels.folder, name),
      lacks: {
        image: `has no imagesTr/${excerpt(image)}: add it, or remove labelsTr/${excerpt(name)}`,
        seg: "",
      },
    };
  });
  if (scans.length === 0) {
    throw new InputError(
      `${labels.shown} holds no file that ends in ${ending}, as dataset.json has it: mend file_ending`,
    );
  }
  const others = [
    ...labels.files.filter((name) => !name.endsWith(ending)).map((name) => `labelsTr/${name}`),
    ...listing.files.filter((name) => name !== "dataset.json"),
  ].map((name) => ({ name, reason: `does not end in ${ending}` }));
  const folders = listing.folders.filter((name) => !/^(images|labels)Tr$/.test(name))
    .map((name) => ({
      name,
      reason: name === "imagesTs" ? "has no labels" : "is not of the layout",
    }));
  return { scans, aside: [...others, ...folders], labels: scheme };
}

/** `<case>_0000.nii.gz`: case, channel and ending. */
function channelFile(name: string): { id: string; channel: string; ending: string } | null {
  const ending = endingOf(name);
  if (ending === null) return null;
  const [, id, channel] = /^(.+)_(\d{4})$/.exec(name.slice(0, -ending.length)) ?? [];
  return id === undefined ? null : { id, channel, ending };
}

/** The images of a folder of channels without labels, or null if its files are not named so. */
async function listImages(listing: Listing, modality: Modality): Promise<Contents | null> {
  const named = listing.files.flatMap((file) => {
    const parts = channelFile(file);
    return parts ? [{ file, ...parts }] : [];
  });
  const volumes = listing.files.filter((file) => endingOf(file) !== null);
  if (named.length === 0 || named.length < volumes.length) return null;
  const { folder, shown } = listing;
  const present = [...new Set(named.map(({ channel }) => channel))];
  const isDescribed = await readIfThere(join(dirname(folder), "dataset.json")) !== null;
  const channels = isDescribed
    ? (await readDescription({ folder: dirname(folder), shown: dirname(shown) })).channels
    : Object.fromEntries(present.map((channel) => [Number(channel), `channel ${channel}`]));
  const wanted = channelOf(channels, { modality, shown }).padStart(4, "0");
  const ids = [...new Set(named.map(({ id }) => id))];
  const scans = ids.map((id): Listed => {
    const own = named.find((file) => file.id === id && file.channel === wanted);
    return {
      id,
      image: own ? join(folder, own.file) : null,
      seg: null,
      lacks: {
        image: `has no ${excerpt(id)}_${wanted}.nii.gz: add it, or remove its other channels`,
        seg: "has no labels: give the folder that holds imagesTr and labelsTr",
      },
    };
  });
  const aside = listing.files.filter((file) => channelFile(file) === null)
    .map((name) => ({ name, reason: "is of no format that is read" }));
  return { scans, aside };
}

/** The channels by number and the ending of the files, as dataset.json says them. */
async function readDescription(
  { folder, shown }: Pick<Listing, "folder" | "shown">,
): Promise<Description> {
  const path = join(shown, "dataset.json");
  let value: unknown;
  try {
    const bytes = await readIfThere(join(folder, "dataset.json"));
    value = JSON.parse(new TextDecoder().decode(bytes ?? undefined));
  } catch {
    throw new InputError(
      `${path} cannot be read: nnU-Net's layout needs it, with channel_names and file_ending`,
    );
  }
  const result = v.safeParse(datasetSchema, value);
  const channels = result.success && (result.output.channel_names ?? result.output.modality);
  if (!channels) {
    throw new InputError(`${path} names no channels: give channel_names, such as {"0": "T1c"}`);
  }
  const ending = result.output.file_ending;
  if (!VOLUME_ENDINGS.includes(ending)) {
    throw new InputError(`${path} says files end in ${excerpt(ending)}: convert them to .nii.gz`);
  }
  return { channels, ending, labels: schemeOfMeanings(namesOf(result.output.labels)) };
}

/** Names of the labels above 0. */
function namesOf(labels: Readonly<Record<string, unknown>>): Map<number, string> {
  const names = Object.entries(labels).map(([key, value]): [number, string] =>
    /^\d+$/.test(key) ? [Number(key), String(value)] : [Number(value), key]
  );
  return new Map(names.filter(([label]) => label !== 0));
}

/** The channel of a modality by its name; that of a data set of one channel, whatever its name. */
function channelOf(
  channels: Readonly<Record<string, string>>,
  { modality, shown }: { modality: Modality; shown: string },
): string {
  const entries = Object.entries(channels);
  const named = entries.filter(([, name]) =>
    MODALITY_NAMES[modality].includes(name.toLowerCase().replaceAll(/[^a-z0-9]/g, ""))
  );
  const found = named.length > 0 ? named : entries;
  if (found.length === 1) return found[0][0];
  throw new InputError(
    `${shown} has no single ${modality} channel among ${
      excerpt(entries.map(([, name]) => name).join(", "))
    }: name one of them ${modality} in dataset.json, or choose another --modality`,
  );
}
