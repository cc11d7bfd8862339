"""Writes tests/predict/fixtures/places.json: voxels that SimpleITK's TransformPhysicalPointToIndex gives places
in millimetres, in scans with oblique, flipped and anisotropic affines. Each scan is written by nibabel as NIfTI
and read by SimpleITK; places are stored in NIfTI's RAS, of which SimpleITK's LPS has x and y negated.

Run from the project's root: python3 tests/reference/make_place_fixtures.py (numpy, nibabel, SimpleITK)
"""

import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

SHAPE = (30, 26, 18)
rng = np.random.default_rng(7)


def rotation(angles):
    a, b, c = np.radians(angles)
    x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


def scans():
    yield (0, 0, 0), (1, 1, 1), (1, 1, 1), (0, 0, 0)
    yield (0, 0, 0), (0.98, 0.98, 7), (-1, -1, 1), (120, 110, -40)
    yield (12, -7, 25), (0.9, 0.8, 3.5), (1, 1, 1), (-61.3, 44.1, 12.7)
    yield (-31, 18, 94), (0.5, 0.5, 5.0), (-1, 1, 1), (10.25, -80.5, 33.1)
    yield (88, 3, -41), (1.2, 0.7, 2.0), (1, -1, -1), (0.3, 0.6, -0.9)


cases = []
for angles, spacing, signs, origin in scans():
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ np.diag(np.array(spacing) * signs)
    affine[:3, 3] = origin
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scan.nii")
        image = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), affine)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        nib.save(image, path)
        affine = nib.load(path).affine
        scan = sitk.ReadImage(path)
    places = []
    for voxel in rng.uniform(-2, np.array(SHAPE) + 1, (40, 3)):
        # Halfway between two voxels rounding decides: keep away from there.
        if np.abs(voxel - np.floor(voxel) - 0.5).min() < 0.02:
            continue
        place = affine[:3, :3] @ voxel + affine[:3, 3]
        index = scan.TransformPhysicalPointToIndex((-place[0], -place[1], place[2]))
        places.append({"place": place.tolist(), "voxel": list(index)})
    cases.append({"affine": affine.ravel().tolist(), "places": places})

path = Path("tests/predict/fixtures/places.json")
path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
print(sum(len(case["places"]) for case in cases), "places in", len(cases), "scans")
