import { assertEquals, assertRejects } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { openDataset } from "../../lib/data/dataset.ts";
import { openScans } from "../../lib/data/scans.ts";
import { InputError } from "../../lib/errors.ts";
import { inTemporaryFolder } from "./temporary.ts";

/** Runs `body` with a folder of empty files: listing must not read any. */
function withFiles(paths: readonly string[], body: (root: string) => Promise<void>): Promise<void> {
  return inTemporaryFolder(async (root) => {
    for (const path of paths) {
      await Deno.mkdir(dirname(join(root, path)), { recursive: true });
      await Deno.writeFile(join(root, path), new Uint8Array(0));
    }
    await body(root);
  });
}

interface Expected {
  readonly files: readonly string[];
  readonly layout: string;
  /** Of each case its name, patient, image and segmentation. */
  readonly cases: readonly (readonly [id: string, patient: string, image: string, seg: string])[];
  readonly aside?: readonly string[];
  readonly modality?: string;
}

const layouts: Record<string, Expected> = {
  "a flat folder, in any letter case": {
    files: ["M-1-000-T1C.NII.GZ", "M-1-000-seg.NII.GZ", "M-1-000-t2f.nii.gz", "notes.txt"],
    layout: "flat",
    cases: [["M-1-000", "M-1", "M-1-000-T1C.NII.GZ", "M-1-000-seg.NII.GZ"]],
    aside: ["notes.txt"],
  },
  "a folder of cases of which one has both .nii and .nii.gz": {
    files: ["a/a-t1c.nii", "a/a-t1c.nii.gz", "a/a_seg.nii", "lost+found/", "Thumbs.db"],
    layout: "BraTS",
    cases: [["a", "a", "a/a-t1c.nii.gz", "a/a_seg.nii"]],
    aside: ["a/a-t1c.nii", "lost+found", "Thumbs.db"],
  },
  "cases in folders and beside them": {
    files: ["a/a-t1c.nii", "a/a-seg.nii", "b-t1c.nii", "b-seg.nii", "c.nii", "empty/"],
    layout: "BraTS",
    cases: [["a", "a", "a/a-t1c.nii", "a/a-seg.nii"], ["b", "b", "b-t1c.nii", "b-seg.nii"]],
    aside: ["empty", "c.nii"],
  },
  "cases whose files have no stem": {
    files: ["p1/t1c.nii.gz", "p1/seg.nii.gz", "p2/T1CE.nii", "p2/mask.nii"],
    layout: "BraTS",
    cases: [["p1", "p1", "p1/t1c.nii.gz", "p1/seg.nii.gz"], [
      "p2",
      "p2",
      "p2/T1CE.nii",
      "p2/mask.nii",
    ]],
  },
  "grades, as BraTS had them to 2019": {
    files: ["HGG", "LGG"].flatMap((grade) =>
      ["t1ce", "flair", "seg"].map((kind) =>
        `${grade}/Brats18_${grade}_1_1/Brats18_${grade}_1_1_${kind}.nii.gz`
      )
    ),
    layout: "BraTS",
    cases: ["HGG", "LGG"].map((grade) => {
      const stem = `${grade}/Brats18_${grade}_1_1/Brats18_${grade}_1_1`;
      const id = `Brats18_${grade}_1_1`;
      return [id, `Brats18_${grade}_1`, `${stem}_t1ce.nii.gz`, `${stem}_seg.nii.gz`];
    }),
  },
  "UCSF-PDGM": {
    files: ["T1c", "T1", "tumor_segmentation"].map((kind) =>
      `UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_${kind}.nii.gz`
    ),
    layout: "BraTS",
    cases: [[
      "UCSF-PDGM-0004",
      "UCSF-PDGM-0004",
      "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_T1c.nii.gz",
      "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_tumor_segmentation.nii.gz",
    ]],
  },
  "BraTS 2015, a folder a file": {
    files: [
      "HGG/brats_tcia_pat102_0002/VSD.Brain.XX.O.MR_T1c.40834/VSD.Brain.XX.O.MR_T1c.40834.mha",
      "HGG/brats_tcia_pat102_0002/VSD.Brain.XX.O.MR_T1.40833/VSD.Brain.XX.O.MR_T1.40833.mha",
      "HGG/brats_tcia_pat102_0002/VSD.Brain.XX.O.MR_Flair.40832/VSD.Brain.XX.O.MR_Flair.40832.mha",
      "HGG/brats_tcia_pat102_0002/VSD.Brain_3more.XX.O.OT.42281/VSD.Brain_3more.XX.O.OT.42281.mha",
      "readme.txt",
      "empty/",
    ],
    layout: "BraTS to 2016",
    cases: [[
      "brats_tcia_pat102_0002",
      "brats_tcia_pat102",
      "HGG/brats_tcia_pat102_0002/VSD.Brain.XX.O.MR_T1c.40834/VSD.Brain.XX.O.MR_T1c.40834.mha",
      "HGG/brats_tcia_pat102_0002/VSD.Brain_3more.XX.O.OT.42281/VSD.Brain_3more.XX.O.OT.42281.mha",
    ]],
    aside: ["readme.txt", "empty"],
  },
  "BIDS with sessions and derivatives": {
    files: [
      "dataset_description.json",
      "sub-01/ses-01/anat/sub-01_ses-01_ce-gadolinium_T1w.nii.gz",
      "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
      "sub-01/ses-02/anat/sub-01_ses-02_ce-gadolinium_T1w.nii.gz",
      "derivatives/seg/sub-01/ses-01/anat/sub-01_ses-01_dseg.nii.gz",
      "derivatives/seg/sub-01/ses-02/anat/sub-01_ses-02_label-lesion_mask.nii.gz",
      "derivatives/bet/sub-01/ses-02/anat/sub-01_ses-02_desc-brain_mask.nii.gz",
    ],
    layout: "BIDS",
    cases: [["01", "dseg"], ["02", "label-lesion_mask"]].map(([session, seg]) => {
      const id = `sub-01_ses-${session}`;
      const folder = `sub-01/ses-${session}/anat`;
      return [
        id,
        "sub-01",
        `${folder}/${id}_ce-gadolinium_T1w.nii.gz`,
        `derivatives/seg/${folder}/${id}_${seg}.nii.gz`,
      ];
    }),
  },
  "BIDS without sessions, of another modality": {
    files: [
      "sub-a/anat/sub-a_T1w.nii.gz",
      "sub-a/anat/sub-a_ce-gd_T1w.nii.gz",
      "sub-a/anat/sub-a_dseg.nii.gz",
    ],
    layout: "BIDS",
    modality: "t1n",
    cases: [["sub-a", "sub-a", "sub-a/anat/sub-a_T1w.nii.gz", "sub-a/anat/sub-a_dseg.nii.gz"]],
  },
  "pictures and masks in two folders": {
    files: ["images/a.png", "images/b.jpg", "masks/a.png", "masks/b_mask.png", "read.me"],
    layout: "images and masks",
    cases: [["a", "a", "images/a.png", "masks/a.png"], [
      "b",
      "b",
      "images/b.jpg",
      "masks/b_mask.png",
    ]],
    aside: ["read.me"],
  },
  "pictures beside their masks": {
    files: [
      "TCGA_CS_4941_19960909_1.tif",
      "TCGA_CS_4941_19960909_1_mask.tif",
      "x.png",
      "x_mask.png",
    ],
    layout: "flat",
    cases: [
      [
        "TCGA_CS_4941_19960909_1",
        "TCGA_CS_4941",
        "TCGA_CS_4941_19960909_1.tif",
        "TCGA_CS_4941_19960909_1_mask.tif",
      ],
      ["x", "x", "x.png", "x_mask.png"],
    ],
  },
  "names of BIDS in folders of cases": {
    files: ["sub-1_ses-1/sub-1_ses-1_t1c.nii.gz", "sub-1_ses-1/sub-1_ses-1_seg.nii.gz"],
    layout: "BraTS",
    cases: [[
      "sub-1_ses-1",
      "sub-1",
      "sub-1_ses-1/sub-1_ses-1_t1c.nii.gz",
      "sub-1_ses-1/sub-1_ses-1_seg.nii.gz",
    ]],
  },
};

for (const [what, { files, layout, cases, aside = [], modality }] of Object.entries(layouts)) {
  const own = files.filter((file) => !file.endsWith("/"));
  Deno.test(`${what}: every case is found, and what is left aside is named`, () =>
    withFiles(own, async (root) => {
      for (const folder of files.filter((file) => file.endsWith("/"))) {
        await Deno.mkdir(join(root, folder));
      }
      const dataset = await openDataset(root, { modality });
      assertEquals(dataset.layout, layout);
      const found = dataset.cases.map(({ id, patient, image, seg }) => [
        id,
        patient,
        relative(root, image),
        relative(root, seg),
      ]);
      assertEquals(found, cases.map((row) => [...row]));
      assertEquals(dataset.aside.map(({ name }) => name), [...aside]);
      const { scans } = await openScans([root], { modality });
      assertEquals(
        scans.map(({ id, path }) => [id, relative(root, path)]),
        found.map(([id, , image]) => [id, image]),
      );
    }));
}

for (
  const [what, files, says] of [
    ["two cases of one name", [
      "x/a/a-t1c.nii",
      "x/a/a-seg.nii",
      "y/a/a-t1c.nii",
      "y/a/a-seg.nii",
    ], "two cases by the name a"],
    ["two images of a session", [
      "sub-1/anat/sub-1_run-1_ce-gd_T1w.nii",
      "sub-1/anat/sub-1_run-2_ce-gd_T1w.nii",
      "sub-1/anat/sub-1_dseg.nii",
    ], "case sub-1 in .* has several t1c images .*run-1.*run-2.*keep one"],
    ["two segmentations of a session", [
      "sub-1/anat/sub-1_ce-gd_T1w.nii",
      "sub-1/anat/sub-1_desc-tumor1_dseg.nii",
      "sub-1/anat/sub-1_desc-tumor2_dseg.nii",
    ], "has several segmentations"],
    ["an image alone", ["a/a-t1c.nii"], "case a in .* has no segmentation: add a-seg.nii.gz"],
    ["a mask alone", ["a/a-seg.nii", "a/a-t2f.nii"], "case a in .* has no t1c image"],
    ["volumes whose names tell nothing", ["a/x.nii"], "case a in .* has no t1c image"],
  ] as [string, string[], string][]
) {
  Deno.test(`${what}: a data set is refused, with the remedy`, () =>
    withFiles(files, async (root) => {
      const error = await assertRejects(() => openDataset(root), InputError);
      assertEquals(new RegExp(says).test(error.message), true, error.message);
    }));
}

Deno.test("scans without segmentations are found in files, folders, one case and nnU-Net's imagesTs", () =>
  withFiles([
    "set/a-1-0/a-1-0-t1c.nii.gz",
    "set/a-1-1/a-1-1-t1c.nii.gz",
    "set/a-1-1/a-1-1-seg.nii.gz",
    "set/b-1-0/b-1-0-t2f.nii.gz",
    "one/c_t1ce.nii.gz",
    "loose/scan 1.nii",
    "loose/scan, 2.NII.GZ",
    "imagesTs/x_001_0000.nii.gz",
    "imagesTs/x_002_0000.nii.gz",
    "hospital/P_1/scan.nii",
    "hospital/P_2/scan.nii",
    "hospital/out/predictions.csv",
    "hospital/out/contact_sheet.png",
    "deep/1/2/3/4/5/scan.nii",
    "deep/1/2/3/4/5/6/scan.nii",
    "years/P_2004.nii",
    "years/P_2007.nii",
  ], async (root) => {
    const open = async (...paths: string[]) => {
      const { scans, notes } = await openScans(paths.map((path) => join(root, path)));
      return [scans.map(({ id, patient }) => `${id} of ${patient}`), notes.length];
    };
    assertEquals(await open("set"), [["a-1-0 of a-1", "a-1-1 of a-1"], 1]);
    assertEquals(await open("one"), [["c of c"], 0]);
    assertEquals(await open("set/a-1-0"), [["a-1-0 of a-1"], 0]);
    assertEquals(await open("one/c_t1ce.nii.gz", "set"), [[
      "c of c",
      "a-1-0 of a-1",
      "a-1-1 of a-1",
    ], 1]);
    assertEquals(await open("loose"), [["scan 1 of scan 1", "scan, 2 of scan, 2"], 0]);
    assertEquals(await open("imagesTs"), [["x_001 of x_001", "x_002 of x_002"], 0]);
    assertEquals(await open("imagesTs/x_001_0000.nii.gz"), [["x_001 of x_001"], 0]);
    assertEquals(await open("years"), [["P_2004 of P_2004", "P_2007 of P_2007"], 0]);
    assertEquals(await open("deep"), [["scan of scan"], 1]); // the other is said to lie too deep
    // Names that tell nothing, in folders or one by one, are told apart by the folders.
    const byPatient = ["P_1_scan of P_1_scan", "P_2_scan of P_2_scan"];
    assertEquals(await open("hospital"), [byPatient, 1]);
    assertEquals(await open("hospital/P_1/scan.nii", "hospital/P_2/scan.nii"), [byPatient, 1]);
    const { notes } = await openScans([join(root, "set")]);
    assertEquals(notes[0].startsWith("Left out: case b-1-0 in"), true, notes[0]);
    for (
      const [paths, says] of [
        [["none"], "cannot read"],
        [["one/c_t1ce.nii.gz", "one"], "is given twice"],
        [["one/c_t1ce.nii.gz", "one/c_t1ce.nii.gz"], "is given twice"],
      ] as [string[], string][]
    ) await assertRejects(() => open(...paths), InputError, says);
  }));
