"""Writes tests/metrics/fixtures/lesion_wise.json: lesion-wise Dice and HD95 of random volumes after the rule
of BraTS-MEN 2023, written with scipy as its organisers describe it
(https://github.com/rachitsaluja/BraTS-2023-Metrics), lesion by lesion on whole volumes. Distances are those
between the centres of surface voxels, as in make_metric_fixtures.py.

The organisers' own code gives the same Dice to 1e-16 on all 40 volumes, and HD95 to 0.66 mm (median 2e-8),
since it weighs surfaces by area.

Run from the project's root: python3 tests/reference/make_lesion_fixtures.py
"""

import base64
import json
from pathlib import Path

import numpy as np
from scipy import ndimage

DILATION, THRESHOLD, PENALTY = 1, 50, 374

# shape and spacing in numpy's order, (z, y, x); one slice has shape 1 along z
GRIDS = [
    ((14, 22, 20), (1.0, 1.0, 1.0)),
    ((8, 20, 24), (5.0, 0.75, 0.75)),
    ((16, 16, 18), (0.8, 1.1, 1.3)),
    ((1, 40, 36), (6.0, 0.9, 0.9)),
]


def blob(rng, shape, share, sigma):
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return noise > np.quantile(noise, 1 - share)


def hd95(a, b, spacing):
    if not a.any() or not b.any():
        return np.inf
    keep = [axis for axis in range(3) if a.shape[axis] > 1]
    a, b = (np.squeeze(m) for m in (a, b))
    spacing = [spacing[axis] for axis in keep]
    cross = ndimage.generate_binary_structure(a.ndim, 1)
    surface = [m & ~ndimage.binary_erosion(m, cross) for m in (a, b)]
    distance = [ndimage.distance_transform_edt(~s, sampling=spacing) for s in surface]
    directions = (distance[1][surface[0]], distance[0][surface[1]])
    return max(np.percentile(d, 95) for d in directions)


def lesion_wise(prediction, truth, spacing):
    near = ndimage.generate_binary_structure(3, 2)
    every = ndimage.generate_binary_structure(3, 3)
    predicted, _ = ndimage.label(prediction, every)
    dilated = ndimage.binary_dilation(truth, near, iterations=DILATION)
    merged, count = ndimage.label(dilated, every)
    dices, distances, matched = [], [], set()
    for lesion in range(1, count + 1):
        own = truth & (merged == lesion)
        reach = ndimage.binary_dilation(own, near, iterations=DILATION)
        touching = set(np.unique(predicted[reach])) - {0}
        matched |= touching
        if own.sum() * np.prod(spacing) <= THRESHOLD:
            continue
        found = np.isin(predicted, list(touching))
        dices.append(2 * (found & own).sum() / (found.sum() + own.sum()))
        distance = hd95(found, own, spacing)
        distances.append(PENALTY if np.isinf(distance) else distance)
    invented = len(set(np.unique(predicted)) - {0} - matched)
    total = len(dices) + invented
    if total == 0:
        return 1.0, 0.0, 0, 0
    return (sum(dices) / total, (sum(distances) + PENALTY * invented) / total, len(dices), invented)


def packed(mask):
    return base64.b64encode(np.packbits(mask.ravel(), bitorder="little").tobytes()).decode()


def fixtures():
    rng = np.random.default_rng(11)
    for shape, spacing in GRIDS:
        pairs = []
        for share, sigma in ((0.1, 2.2), (0.12, 1.5), (0.04, 1.0)):
            truth = blob(rng, shape, share, np.minimum(sigma, np.array(shape) / 3))
            pairs.append((np.roll(truth, 1, -1), truth))
            found = np.roll(truth, 1, -2) & ~blob(rng, shape, 0.3, 4)  # lesions are missed or cut
            pairs.append((found | blob(rng, shape, 0.01, 1.5), truth))
        pairs.append((blob(rng, shape, 0.3, 2), truth))  # large components that touch several lesions
        if shape[0] % 8 == 0:
            nothing = np.zeros(shape, bool)
            some, dot = blob(rng, shape, 0.06, 1.5), nothing.copy()
            dot[0, 3, 4] = True
            pairs += [(nothing, some), (some, nothing), (nothing, nothing)]
            pairs += [(nothing, dot), (dot, dot), (dot | np.roll(dot, 8, -1), dot)]
        for prediction, truth in pairs:
            dice, distance, lesions, invented = lesion_wise(prediction, truth, spacing)
            yield {
                "shape": shape[::-1], "spacing": spacing[::-1],
                "prediction": packed(prediction), "truth": packed(truth),
                "lesions": lesions, "invented": invented,
                "lesionDice": float(dice), "lesionHd95": float(distance),
            }


path = Path("tests/metrics/fixtures/lesion_wise.json")
path.write_text("[\n" + ",\n".join(json.dumps(case) for case in fixtures()) + "\n]\n")
