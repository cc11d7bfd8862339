"""Compares what write_volumes.ts wrote with the files that it read, both read by SimpleITK; by nibabel where
the file was NIfTI, since SimpleITK reads no NIfTI-2.

Run from the project's root:
  deno run -A tests/reference/write_volumes.ts OUT && python3 tests/reference/check_written_volumes.py OUT
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

FIXTURES = Path("tests/formats/fixtures")
OUT = Path(sys.argv[1])


def by_itk(image):
    """Voxels by x, y and z, and the affine in NIfTI's space."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T.astype(float), np.diag([-1, -1, 1, 1]) @ affine


def by_nibabel(path):
    image = nib.load(path)
    return image.get_fdata().reshape(image.shape[:3]), image.affine


def pairs():
    """Each file as it came and as it was written."""
    reader = sitk.ImageSeriesReader()
    for path in sorted([*FIXTURES.iterdir(), *(FIXTURES / "formats").iterdir()]):
        written = OUT / f"{path.name}.nii.gz"
        if path.name.startswith("dicom"):
            series = reader.GetGDCMSeriesIDs(str(path))
            for uid in series:
                files = reader.GetGDCMSeriesFileNames(str(path), uid)
                reader.SetFileNames(files)
                number = sitk.ReadImage(files[0]).GetMetaData("0020|0011").strip()
                name = path.name if len(series) == 1 else f"{path.name}_{number}"
                yield name, by_itk(reader.Execute()), by_itk(sitk.ReadImage(str(OUT / f"{name}.nii.gz")))
        elif path.name.endswith((".nii", ".nii.gz")):
            yield path.name, by_nibabel(path), by_nibabel(written)
        elif path.suffix in (".nrrd", ".mha"):
            yield path.name, by_itk(sitk.ReadImage(str(path))), by_itk(sitk.ReadImage(str(written)))


for name, (values, source), (own, written) in pairs():
    # Voxel of the written file where each voxel of the source lies: axes may be turned and flipped.
    index = np.indices(values.shape).reshape(3, -1)
    place = (np.linalg.inv(written) @ source @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    voxel = place.round().astype(int)
    off = np.abs(place - voxel).max()
    differ = np.abs(own[tuple(voxel)] - np.float32(values[tuple(index)])).max()
    print(f"{name}: {off:.1e} voxels off, values differ by {differ:g}")
