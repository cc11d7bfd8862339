"""Writes tests/data/fixtures/resize.json: images resized by PyTorch (2.5) and by Pillow (13).

Run from the project's root: python3 tests/reference/make_resize_fixtures.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

CASES = [  # (height, width) from, to, channels
    ((5, 7), (13, 16), 1),
    ((6, 6), (6, 6), 1),
    ((4, 3), (8, 6), 3),
    ((17, 23), (6, 8), 1),
    ((12, 9), (5, 4), 3),
    ((9, 4), (3, 11), 1),
]


def main():
    rng = np.random.default_rng(0)
    out = []
    for source, target, channels in CASES:
        image = rng.integers(0, 256, (*source, channels)).astype(np.float32)
        x = torch.from_numpy(image).permute(2, 0, 1)[None]
        y = F.interpolate(x, target, mode="bilinear", align_corners=False, antialias=True)
        if target[0] >= source[0] and target[1] >= source[1]:
            plain = F.interpolate(x, target, mode="bilinear", align_corners=False)
            assert torch.allclose(y, plain, atol=1e-4), "enlarging needs no antialiasing"
        resized = y[0].permute(1, 2, 0).numpy()
        for c in range(channels):
            pil = Image.fromarray(image[..., c], "F").resize(target[::-1], Image.BILINEAR)
            assert np.allclose(np.asarray(pil), resized[..., c], atol=1e-3), "Pillow agrees"
        out.append({
            "from": source, "to": target, "channels": channels,
            "image": image.astype(int).ravel().tolist(),
            "resized": [round(float(v), 4) for v in resized.ravel()],
        })
    Path("tests/data/fixtures/resize.json").write_text(json.dumps(out) + "\n")


main()
