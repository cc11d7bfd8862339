"""Loads what `./run merge … --onnx` writes in samexporter's own runner, and compares its masks with those of
`./run predict` on a slice of the sample, at SAM's side of 1024.

    python check_onnx.py FOLDER

Needs samexporter 0.5.0, onnxruntime, opencv-python-headless, Pillow, nibabel. The runner resizes pictures of 8 bits
by Pillow, and adds a padding point to boxes, so that masks are close and not the same to the last pixel;
tests/sam/onnx_export.test.ts compares logits where both are fed alike.
"""
import pathlib
import subprocess
import sys

import nibabel as nib
import numpy as np
from samexporter.sam_onnx import SegmentAnythingONNX

ADAPTER, CASE, SIDE = "meningioma", "CHENG-MEN-114018-000", 1024


def main(folder):
    root = pathlib.Path(__file__).resolve().parents[2]
    scan = root / "experiments/sample" / CASE / f"{CASE}-t1c.nii.gz"
    truth = np.asarray(nib.load(root / "experiments/sample" / CASE / f"{CASE}-seg.nii.gz").dataobj)[..., 0].T > 0
    ys, xs = np.nonzero(truth)
    box = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
    point = [int(np.median(xs)), int(np.median(ys))]
    subprocess.run([root / "run", "merge", ADAPTER, "--onnx", "--side", str(SIDE), "--out", folder / "model"], check=True)
    prompts = {
        "box": (["--box", ",".join(map(str, box))], [{"type": "rectangle", "data": box}]),
        "point": (["--point", f"{point[0]},{point[1]},0"], [{"type": "point", "data": point, "label": 1}]),
    }
    pixels = np.asarray(nib.load(scan).dataobj)[..., 0].T.astype(np.float32)
    low, high = np.percentile(pixels, [0.5, 99.5])
    grey = np.clip((pixels - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    runner = SegmentAnythingONNX(str(folder / "model.encoder.onnx"), str(folder / "model.decoder.onnx"))
    embedding = runner.encode(np.repeat(grey[..., None], 3, axis=2))
    for name, (options, prompt) in prompts.items():
        subprocess.run([root / "run", "predict", scan, *options, "--side", str(SIDE), "--out", folder / name, "--overwrite"],
                       check=True, stdout=subprocess.DEVNULL)
        ours = np.asarray(nib.load(folder / name / f"{CASE}-seg.nii.gz").dataobj)[..., 0].T > 0
        theirs = np.asarray(runner.predict_masks(embedding, prompt))[0, 0] > 0
        dice = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
        print(f"{name}: {theirs.sum()} and {ours.sum()} pixels, {np.mean(ours == theirs):.5f} of all the same, Dice {dice:.4f}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
