import type { Kind } from "../kind.ts";
import { bratsFolder, sliceCache } from "./caches.ts";
import { dicom } from "./dicom.ts";
import { nifti, niftiGz } from "./nifti.ts";
import { onnx } from "./onnx.ts";
import { legacyLora, peft } from "./peft.ts";
import { runFolder } from "./run_folder.ts";
import { safetensors } from "./safetensors.ts";
import { studyFolder } from "./study_folder.ts";
import { weightsCache } from "./sam_weights.ts";
import { FAULT_NAMES, faulty } from "./self_test.ts";
import { torchLegacyKind, torchZip } from "./torch.ts";
import { volumes } from "./volumes.ts";

const KINDS: readonly Kind[] = [
  nifti,
  niftiGz,
  volumes,
  dicom,
  safetensors,
  torchZip,
  torchLegacyKind,
  onnx,
  peft,
  legacyLora,
  runFolder,
  studyFolder,
  sliceCache,
  bratsFolder,
  weightsCache,
];

/** The names of all kinds. */
export const KIND_NAMES: readonly string[] = KINDS.map(({ name }) => name);

/** The kind of a name; the faults of the self-test are kinds, too. */
export function kindNamed(name: string): Kind {
  if (FAULT_NAMES.includes(name)) return faulty(name);
  const kind = KINDS.find((candidate) => candidate.name === name);
  if (!kind) throw new RangeError(`there is no kind ${name}: ${KIND_NAMES.join(", ")}`);
  return kind;
}
