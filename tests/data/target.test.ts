import { assertEquals, assertThrows } from "@std/assert";
import {
  binarise,
  labelNote,
  type LabelSchemeName,
  schemeOfNames,
  type Target,
} from "../../lib/data/target.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { InputError } from "../../lib/errors.ts";

const labels = (...values: number[]) =>
  createVolume(Float32Array.from(values), { shape: [values.length, 1, 1] });

for (
  const [scheme, target, values, mask] of [
    [null, "auto", [0, 1, 2, 3], [0, 1, 1, 1]],
    [null, "auto", [0, 255, 1, 0], [0, 1, 1, 0]],
    [null, "wt", [0, 1, 2, 4], [0, 1, 1, 1]],
    [null, "auto", [0, 0.9995, 1.0005, 0.0004], [0, 1, 1, 0]],
    ["any", "auto", [0, 1, 4, 255], [0, 1, 1, 1]],
    ["brats2016", "tc", [0, 1, 2, 3, 4], [0, 1, 0, 1, 1]],
    ["brats2016", "et", [0, 1, 2, 3, 4], [0, 0, 0, 0, 1]],
    ["brats2020", "wt", [0, 1, 2, 4], [0, 1, 1, 1]],
    ["brats2020", "tc", [0, 1, 2, 4], [0, 1, 0, 1]],
    ["brats2020", "et", [0, 1, 2, 4], [0, 0, 0, 1]],
    ["brats2023", "tc", [0, 1, 2, 3], [0, 1, 0, 1]],
    ["brats2023", "et", [0, 1, 2, 3], [0, 0, 0, 1]],
    ["brats2024", "auto", [0, 1, 2, 3, 4], [0, 1, 1, 1, 0]],
    ["brats2024", "wt", [0, 1, 2, 3, 4], [0, 1, 1, 1, 0]],
    ["brats2024", "tc", [0, 1, 2, 3, 4], [0, 1, 0, 1, 0]],
    ["brats2024", "et", [0, 1, 2, 3, 4], [0, 0, 0, 1, 0]],
    ["brats-ped", "tc", [0, 1, 2, 3, 4], [0, 1, 1, 1, 0]],
    ["brats-ped", "et", [0, 1, 2, 3, 4], [0, 1, 0, 0, 0]],
    ["decathlon", "tc", [0, 1, 2, 3], [0, 0, 1, 1]],
    ["decathlon", "et", [0, 1, 2, 3], [0, 0, 0, 1]],
  ] as [LabelSchemeName | null, Target, number[], number[]][]
) {
  Deno.test(`target ${target} of ${scheme} labels makes [${values}] into [${mask}]`, () => {
    assertEquals([...binarise(labels(...values), { target, scheme, name: "seg" })], mask);
  });
}

Deno.test("an image in a mask's place, labels of another scheme, and regions of unknown ones are refused", () => {
  const refuse = (
    values: number[],
    options: { target: Target; scheme?: LabelSchemeName },
    text: string,
  ) =>
    assertThrows(() => binarise(labels(...values), { ...options, name: "seg" }), InputError, text);
  refuse([0, 0.5], { target: "auto" }, "holds the value 0.5");
  refuse([0, 1.0078125], { target: "auto" }, "holds the value 1.0078125");
  refuse([0, -1], { target: "auto" }, "holds the value -1");
  refuse([0, 255], { target: "et", scheme: "brats2023" }, "label 255");
  refuse([0, 4], { target: "wt", scheme: "brats2023" }, "seg has label 4, which brats2023 has not");
  refuse([0, 3], { target: "wt", scheme: "brats2020" }, "seg has label 3, which brats2020 has not");
  refuse([0, 1], { target: "et" }, "give --labels brats2016 (");
  refuse([0, 1], { target: "et", scheme: "any" }, "give --labels brats2016 (");
  refuse([0, 255], { target: "auto", scheme: "brats2023" }, "decathlon, any");
  refuse([0, 1], { target: "tc" }, "decathlon (");
});

for (
  const [ids, scheme] of [
    [["BraTS-MEN-00004-000", "BraTS-SSA-00002-000"], "brats2023"],
    [["BraTS-GLI-02062-100"], "brats2024"],
    [["BraTS-PED-00001-000"], "brats-ped"],
    [["BraTS20_Training_001", "Brats18_TCIA02_118_1"], "brats2020"],
    [["brats_tcia_pat102_0002"], "brats2016"],
    [["BRATS_001"], "decathlon"],
    [["BraTS-MEN-00004-000", "P1"], null],
    [["BraTS-MEN-RT-0001-1"], null],
    [["CHENG-MEN-100639-002"], null],
    [[], null],
  ] as [string[], LabelSchemeName | null][]
) {
  Deno.test(`the names ${ids.join(", ") || "of nothing"} tell ${scheme ?? "no"} labels`, () => {
    assertEquals(schemeOfNames(ids), scheme);
  });
}

Deno.test("a word is said on labels 3 and 4 together, and on no others", () => {
  assertEquals(labelNote(labels(0, 1, 2, 4)), null);
  assertEquals(labelNote(labels(0, 1, 2, 3)), null);
  assertEquals(labelNote(labels(0, 1, 3, 4))?.includes("--labels brats2024"), true);
});
