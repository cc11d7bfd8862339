"""Writes tests/formats/fixtures/formats with SimpleITK, pydicom, Pillow and tifffile, and what these read back of them.

Run from the project's root: python3 tests/reference/make_format_fixtures.py
"""

import json
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless, generate_uid

OUT = Path("tests/formats/fixtures/formats")
SHAPE = (6, 5, 4)
SPACING = (0.9, 1.1, 2.5)
ORIGIN = (-12.5, 30.25, 7.0)


def oblique():
    """A rotation about all three axes, as rows of an LPS direction matrix."""
    a, b, c = 0.3, -0.2, 0.5
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def facts_of(path):
    """Shape, spacing, affine in NIfTI's space (right, front, up) and voxels, x fastest, as SimpleITK reads them."""
    image = sitk.ReadImage(str(path)) if not isinstance(path, sitk.Image) else path
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1, -1, 1, 1]) @ affine
    return {
        "shape": list(image.GetSize()),
        "spacing": list(image.GetSpacing()),
        "affine": affine.ravel().tolist(),
        "data": sitk.GetArrayFromImage(image).astype(np.float64).ravel().tolist(),
    }


def write_volumes(facts):
    ramp = np.arange(np.prod(SHAPE)).reshape(SHAPE[::-1])
    for name, array, compress in [
        ("int16.nrrd", (ramp * 7 - 300).astype(np.int16), True),
        ("float32.nrrd", (ramp * 0.75 - 11).astype(np.float32), False),
        ("uint8.mha", ramp.astype(np.uint8), True),
        ("float64.mha", ramp * 0.125 - 3, False),
        ("uint16.mha", (ramp * 500).astype(np.uint16), False),
        # Headers with their voxels in a file beside them.
        ("pair.mhd", (ramp * 3 - 9).astype(np.int32), False),
        ("packed_pair.mhd", (ramp * 5 - 70).astype(np.int16), True),
        ("raw_pair.nhdr", ramp.astype(np.uint8), False),
        ("gzip_pair.nhdr", (ramp * 0.5 - 7).astype(np.float32), True),
        ("nifti_pair.hdr", (ramp * 9 - 80).astype(np.int16), False),
        ("nifti_packed.hdr.gz", (ramp * 0.25 - 2).astype(np.float64), True),
    ]:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        image.SetDirection(oblique().ravel().tolist())
        sitk.WriteImage(image, str(OUT / name), compress)
        facts[name] = facts_of(OUT / name)


def write_series(folder, number, description, slices, row, column, origin, step, spacing, seed, rle=False):
    """A series of a folder, its files named in an order that is not that of their positions."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 3000, (slices, 12, 16)).astype(np.uint16)
    names = rng.permutation(slices)
    uid = generate_uid(entropy_srcs=[f"series {seed}"])
    for k in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[f"{seed} {k}"])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        ds.PatientID, ds.PatientName, ds.PatientPosition = "P7", "Made^Up", "HFS"
        ds.Modality, ds.Manufacturer, ds.MRAcquisitionType = "MR", "samlora", "3D"
        ds.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
        ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
        ds.SeriesInstanceUID, ds.SeriesNumber, ds.SeriesDescription = uid, number, description
        ds.InstanceNumber, ds.StudyDate, ds.SeriesTime, ds.AcquisitionTime = k + 1, "20200101", "100000", "100000"
        ds.EchoTime, ds.RepetitionTime, ds.ScanningSequence, ds.ImageType = 10, 500, "GR", ["ORIGINAL", "PRIMARY", "M"]
        ds.ImageOrientationPatient = [float(f"{v:.12g}") for v in [*row, *column]]
        place = np.array(origin) + step * k * np.cross(row, column)
        ds.ImagePositionPatient = [float(f"{v:.12g}") for v in place]
        ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = list(spacing), abs(step), abs(step)
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 12, 16, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelData = voxels[k].tobytes()
        if rle:
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(folder / f"{seed}IM{names[k]:03d}", enforce_file_format=True)


def read_series(folder):
    """What SimpleITK reads of each series, by its number."""
    reader = sitk.ImageSeriesReader()
    found = {}
    for uid in reader.GetGDCMSeriesIDs(str(folder)):
        files = reader.GetGDCMSeriesFileNames(str(folder), uid)
        reader.SetFileNames(files)
        first = sitk.ImageFileReader()
        first.SetFileName(files[0])
        first.ReadImageInformation()
        found[str(int(first.GetMetaData("0020|0011")))] = facts_of(reader.Execute())
    return found


def write_dicom(facts):
    direction = oblique()
    for name in ("dicom_one", "dicom_two"):
        shutil.rmtree(OUT / name, ignore_errors=True)
        (OUT / name).mkdir()
    write_series(OUT / "dicom_one", 5, "t1 post Gd", 5, direction[:, 0], direction[:, 1], ORIGIN, 3.5, (0.8, 0.9), 1, rle=True)
    write_series(OUT / "dicom_two", 3, "t1 pre", 4, [1, 0, 0], [0, 1, 0], (-10, -20, -30), 2.0, (1, 1), 2)
    write_series(OUT / "dicom_two", 4, "t1 post", 5, [0, 1, 0], [0, 0, -1], (-10, -20, -30), -4.0, (0.5, 0.5), 3)
    for name in ("dicom_one", "dicom_two"):
        facts[name] = read_series(OUT / name)
    # One file of several frames (Enhanced MR), also packed as JPEG 2000.
    frames = np.random.default_rng(4).integers(0, 2000, (4, 12, 16)).astype(np.int16)
    image = sitk.GetImageFromArray(frames)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10, 5, 30))
    image.SetMetaData("0008|0060", "MR")
    image.SetMetaData("0020|0011", "9")
    for name, packed in [("dicom_frames", False), ("dicom_packed", True)]:
        (OUT / name).mkdir()
        sitk.WriteImage(image, str(OUT / name / "frames.dcm"), packed)
    facts["dicom_frames"] = {"9": facts_of(OUT / "dicom_frames" / "frames.dcm")}


def write_pictures(facts):
    rng = np.random.default_rng(7)
    grey = rng.integers(0, 256, (9, 11)).astype(np.uint8)
    deep = (grey.astype(np.uint16) * 257).astype(np.uint16)
    colour = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    smooth = (np.add.outer(np.arange(16) * 5, np.arange(24) * 6)).astype(np.uint8)
    pictures = {
        "grey.png": (Image.fromarray(grey), {}),
        "deep.png": (Image.fromarray(deep), {}),
        "mask.png": (Image.fromarray(grey > 128), {}),
        "colour.png": (Image.fromarray(colour), {}),
        "equal.png": (Image.fromarray(np.repeat(grey[..., None], 3, 2)), {}),
        "palette.png": (Image.fromarray(grey // 64).convert("P"), {}),
        "grey.jpg": (Image.fromarray(smooth), {"quality": 95}),
        "grey.tif": (Image.fromarray(grey), {"compression": "tiff_lzw"}),
        "deep.tiff": (Image.fromarray(deep), {"compression": "tiff_adobe_deflate"}),
        "float.tif": (Image.fromarray(grey.astype(np.float32) / 8), {}),
    }
    for name, (image, options) in pictures.items():
        image.save(OUT / name, **options)
        back = np.asarray(Image.open(OUT / name).convert("RGB") if name == "palette.png" else Image.open(OUT / name))
        back = back.astype(np.float64)
        if back.ndim == 3:
            # ITU-R BT.601
            back = back @ np.array([0.299, 0.587, 0.114]) if name == "colour.png" else back[..., 0]
        facts[name] = {"shape": [back.shape[1], back.shape[0], 1], "data": back.ravel().tolist()}
    pages = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    pages[0].save(OUT / "pages.tif", save_all=True, append_images=pages[1:])
    facts["pages.tif"] = {
        "shape": [11, 9, 2],
        "data": np.concatenate([grey.ravel(), 255 - grey.ravel()]).astype(float).tolist(),
    }


def write_scaled_stacks(facts):
    """Stacks whose TIFF tells the voxel's size, as ImageJ and as OME write it."""
    stack = np.arange(2 * 9 * 11, dtype=np.uint8).reshape(2, 9, 11)
    scale = {"resolution": (1 / 0.5, 1 / 0.25)}
    tifffile.imwrite(OUT / "imagej.tif", stack, imagej=True, metadata={"unit": "mm", "spacing": 3.0}, **scale)
    tifffile.imwrite(OUT / "imagej_cm.tif", stack, imagej=True, metadata={"unit": "cm"}, **scale)
    ome = {"axes": "ZYX", "PhysicalSizeX": 500, "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "mm",
           "PhysicalSizeZ": 0.3, "PhysicalSizeZUnit": "cm"}
    tifffile.imwrite(OUT / "stack.ome.tif", stack, metadata=ome)
    data = stack.ravel().astype(float).tolist()
    for name, spacing in (("imagej.tif", [0.5, 0.25, 3]), ("imagej_cm.tif", [5, 2.5, 1]), ("stack.ome.tif", [0.5, 0.25, 3])):
        facts[name] = {"shape": [11, 9, 2], "spacing": spacing, "data": data}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    facts = {}
    write_volumes(facts)
    write_dicom(facts)
    write_pictures(facts)
    write_scaled_stacks(facts)
    (OUT / "formats.json").write_text(json.dumps(facts) + "\n")


main()
