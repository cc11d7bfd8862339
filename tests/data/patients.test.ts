import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { groupPatients, patientOf } from "../../lib/data/patients.ts";
import { InputError } from "../../lib/errors.ts";
import { inTemporaryFolder } from "./temporary.ts";

for (
  const [id, patient] of [
    ["sub-01_ses-02", "sub-01"],
    ["sub-01", "sub-01"],
    ["BraTS-MEN-00004-000", "BraTS-MEN-00004"],
    ["BraTS-GLI-00005-001", "BraTS-GLI-00005"],
    ["BraTS-MEN-RT-0012-1", "BraTS-MEN-RT-0012"],
    ["Brats18_TCIA02_118_1", "Brats18_TCIA02_118"],
    ["Brats17_CBICA_AAB_1", "Brats17_CBICA_AAB"],
    ["BraTS19_2013_11_1", "BraTS19_2013_11"],
    ["brats_2013_pat0103_1", "brats_2013_pat0103"],
    ["BraTS20_Training_001", "BraTS20_Training_001"],
    ["BraTS2021_00002", "BraTS2021_00002"],
    ["TCGA-02-0006", "TCGA-02-0006"],
    ["TCGA-02-0006_1996.08.23", "TCGA-02-0006"],
    ["TCGA_CS_4941_19960909", "TCGA_CS_4941"],
    ["TCGA_CS_4941_19960909_13", "TCGA_CS_4941"],
    ["UPENN-GBM-00001_11", "UPENN-GBM-00001"],
    ["UCSF-PDGM-0541_FU001d", "UCSF-PDGM-0541"],
    ["100112_time2", "100112"],
    ["PatientID_0003_Timepoint_1", "PatientID_0003"],
    ["P012_2004-03-05", "P012"],
    ["P012-20040305", "P012"],
    ["P012_20041305", "P012_20041305"],
    ["CHENG-MEN-100639-002", "CHENG-MEN-100639"],
    ["patient-7", "patient-7"],
    ["BraTS-MEN-00004-pre", "BraTS-MEN-00004-pre"],
    ["tumour_001", "tumour_001"],
  ] as const
) {
  Deno.test(`${id} is of patient ${patient}`, () => assertEquals(patientOf(id), patient));
}

const ids = ["a1", "a2", "b1"];

Deno.test("the grouping is told with the scheme that it comes of, and where none was known", () => {
  const of = (...names: string[]) => groupPatients(names).summary;
  assertEquals(
    of("Brats18_TCIA02_118_1", "Brats18_TCIA02_118_2"),
    "1 patient in 2 cases (by BraTS to 2019 names)",
  );
  assertEquals(
    of("sub-1_ses-1", "x"),
    "2 patients in 2 cases (by BIDS names; 1 names of no known scheme count as a patient each: " +
      "--patients FILE says otherwise)",
  );
  assertEquals(
    of("x"),
    "1 patient in 1 case (names of no known scheme count as a patient each: --patients FILE says " +
      "otherwise)",
  );
});

for (
  const [name, content] of [
    ["p.csv", "case,patient\na1,A\na2,A\nb1,B\n"],
    ["bare.csv", '\ufeff"a1";"A"\r\n"a2";"A"\r\n"b1";"B"\r\n'],
    ["p.tsv", "a1\tA\na2\tA\nb1\tB\nunused\tC"],
    ["p.json", '{"a1": "A", "a2": "A", "b1": "B"}'],
    ["p.txt", "^([a-z])\\d$\n"],
  ]
) {
  Deno.test(`whose each case is can be read from ${name}`, () =>
    inTemporaryFolder(async (folder) => {
      const path = join(folder, name);
      await Deno.writeTextFile(path, content);
      const { patients, summary } = groupPatients(ids, path);
      assertEquals(patients.get("a1"), patients.get("a2"));
      assertEquals(new Set(patients.values()).size, 2);
      assertEquals(summary, `2 patients in 3 cases (by ${path})`);
    }));
}

for (
  const [what, content, says] of [
    ["a case is missing", "a1,A\na2,A\n", "does not name case b1"],
    ["a case is of two", "a1,A\na1,B\n", "gives case a1 to two patients"],
    ["a line is not a pair", "a1,A\na2\n", "line 2 of"],
    ["JSON is not a map", "{]", "is no map of cases to patients"],
    ["a patient is a list", '{"a1": ["A"]}', "is no map of cases to patients"],
    ["a pattern has no group that fits", "^(a)\\d", "finds no patient in the name b1"],
    ["a pattern is not one", "(a\\d", "holds no regular expression that can be read"],
    ["a patient has control characters", "a1,A\u001b[31m\na2,A\nb1,B", "control characters"],
  ]
) {
  Deno.test(`a file of patients is refused where ${what}`, () =>
    inTemporaryFolder(async (folder) => {
      const path = join(folder, "p");
      await Deno.writeTextFile(path, content);
      assertThrows(() => groupPatients(ids, path), InputError, says);
    }));
}
