"""Writes tests/formats/fixtures/*.nii[.gz] with nibabel (5.4), and what nibabel reads back of them.

Run from the project's root: python3 tests/reference/make_nifti_fixtures.py
"""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np

OUT = Path("tests/formats/fixtures")
SHAPE = (5, 4, 3)
AFFINE = np.array([[-1.5, 0.1, 0, 10], [0.2, 2, 0, -20], [0, 0.3, 2.5, 30], [0, 0, 0, 1.0]])
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def voxels(dtype):
    """A ramp that visits negative values where the type has them, and high bytes."""
    ramp = np.arange(np.prod(SHAPE)).reshape(SHAPE, order="F")
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (ramp * 0.75 - 11.25).astype(kind)
    high = min(np.iinfo(kind).max // 64, 1 << 30)
    return (ramp * max(1, high) + (-60 if kind.kind == "i" else 0)).astype(kind)


def build(version, order, dtype):
    maker = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = maker(voxels(dtype), AFFINE, dtype=dtype)
    header = image.header.as_byteswapped({"little": "<", "big": ">"}[order])
    header.set_data_dtype(np.dtype(dtype))
    image = maker(voxels(dtype), AFFINE, header=header)
    image.set_sform(AFFINE, 2)
    image.set_qform(AFFINE, 1)
    return image


def save(name, raw, facts):
    path = OUT / name
    path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    back = nib.load(path)
    facts[name] = {
        "shape": list(back.shape[:3]),
        "affine": back.affine.ravel().tolist(),
        "spacing": [float(z) for z in back.header.get_zooms()[:3]],
        "data": back.get_fdata().ravel(order="F").tolist(),
    }


def with_slope(raw, order, slope, inter):
    """nibabel resets the slope of an image in memory, so it is set in the bytes."""
    raw = bytearray(raw)
    raw[112:120] = np.array([slope, inter], dtype={"little": "<", "big": ">"}[order] + "f4").tobytes()
    return bytes(raw)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    facts = {}
    for index, dtype in enumerate(TYPES):
        for version in (1, 2):
            # Not every combination needs a file: alternate, so that each type meets both orders.
            order = "big" if (index + version) % 2 else "little"
            save(f"{dtype}_nifti{version}_{order}.nii", build(version, order, dtype).to_bytes(), facts)
    for order in ("little", "big"):
        raw = with_slope(build(1, order, "int16").to_bytes(), order, 0.5, -3)
        save(f"int16_slope_{order}.nii.gz", raw, facts)
    image = build(1, "little", "uint8")
    image.set_sform(None, 0)
    rotation = np.array([[0, -1.5, 0, 3], [2, 0, 0, 4], [0, 0, -2.5, 5], [0, 0, 0, 1.0]])
    image.set_qform(rotation, 1)
    save("qform_only.nii.gz", image.to_bytes(), facts)
    save("one_volume_4d.nii.gz", nib.Nifti1Image(voxels("uint8")[..., None], AFFINE).to_bytes(), facts)
    (OUT / "nifti.json").write_text(json.dumps(facts) + "\n")


main()
