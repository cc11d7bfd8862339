import { join } from "node:path";
import * as v from "valibot";
import { excerpt, InputError } from "../../errors.ts";
import { readIfThere } from "../../fs.ts";
import {
  list,
  type Listing,
  type Modality,
  MODALITY_NAMES,
  niftiCase,
  requirePlainName,
  type Source,
} from "./source.ts";

const datasetSchema = v.object({
  /** Channel number to its name; version 1 of nnU-Net says `modality`. */
  channel_names: v.optional(v.record(v.string(), v.string())),
  modality: v.optional(v.record(v.string(), v.string())),
  file_ending: v.optional(v.string(), ".nii.gz"),
});

/**
 * nnU-Net's layout: `imagesTr/<case>_0000.nii.gz`, a file a channel, beside `labelsTr/<case>.nii.gz`,
 * with `dataset.json` saying which channel is which (documentation/dataset_format.md of nnU-Net 2).
 * Cases are those of labelsTr; imagesTs has no labels and is left aside.
 */
export const nnunet: Source = {
  name: "nnU-Net",
  pattern: "imagesTr/<case>_0000.nii.gz with labelsTr/<case>.nii.gz and dataset.json",
  recognises: ({ names }) => names.includes("imagesTr") && names.includes("labelsTr"),
  cases: async (listing, modality) => {
    const { folder, shown } = listing;
    const { channels, ending } = await readDescription(listing);
    const channel = channelOf(channels, { modality, shown });
    const images = await list(join(folder, "imagesTr"), join(shown, "imagesTr"));
    const labels = await list(join(folder, "labelsTr"), join(shown, "labelsTr"));
    return labels.names.filter((name) => name.endsWith(ending)).map((name) => {
      const id = name.slice(0, -ending.length);
      requirePlainName(id, shown);
      const image = `${id}_${channel.padStart(4, "0")}${ending}`;
      if (!images.names.includes(image)) {
        throw new InputError(
          `case ${id} in ${shown} has no imagesTr/${image}: add it, or remove labelsTr/${name}`,
        );
      }
      return niftiCase({
        id,
        image: join(images.folder, image),
        seg: join(labels.folder, name),
      });
    });
  },
};

/** The channels by number and the ending of the files, as dataset.json says them. */
async function readDescription(
  { folder, shown }: Listing,
): Promise<{ channels: Readonly<Record<string, string>>; ending: string }> {
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
  if (ending !== ".nii.gz" && ending !== ".nii") {
    throw new InputError(`${path} says files end in ${excerpt(ending)}: convert them to .nii.gz`);
  }
  return { channels, ending };
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
