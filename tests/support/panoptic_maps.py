"""Panoptic maps drawn with a seed, and panoptic quality in exact fractions, one segment at a time."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np

CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 10, "name": "dog", "isthing": 1},
    {"id": 4, "name": "sky", "isthing": 0},
    {"id": 250, "name": "grass", "isthing": 0},
    {"id": 7, "name": "never there", "isthing": 0},
]
Side = dict[str, Any]


def side(rng: np.random.Generator, blocks: Any, crowd: float) -> Side:
    """A map of blocks (H, W) of numbers, as ids with records; number 0 is void."""
    names = rng.permutation(2**12)[: int(blocks.max()) + 1] * 4093 + 1
    names[0] = 0
    segments = []
    for k in np.unique(blocks):
        if k:
            kind = int(rng.integers(0, 4))
            segments.append(
                {
                    "id": int(names[k]),
                    "category_id": CATEGORIES[kind]["id"],
                    "iscrowd": int(CATEGORIES[kind]["isthing"] == 1 and rng.random() < crowd),
                }
            )
    return {"segmentation": names[blocks], "segments_info": segments}


def image(seed: int, height: int = 24, width: int = 30) -> tuple[Side, Side]:
    """A prediction and its target, alike in many segments."""
    rng = np.random.default_rng(seed)
    true = np.kron(rng.integers(0, 9, (height // 6 + 1, width // 6 + 1)), np.ones((6, 6), int))[:height, :width]
    guess = np.roll(true, int(rng.integers(-2, 3)), axis=1)
    guess = np.where(rng.random(guess.shape) < 0.1, rng.integers(0, 9, guess.shape), guess)
    target, prediction = side(rng, true, 0.3), side(rng, guess, 0)
    kinds = dict(zip(np.unique(true)[np.unique(true) > 0].tolist(), target["segments_info"], strict=True))
    for k, record in zip(np.unique(guess)[np.unique(guess) > 0].tolist(), prediction["segments_info"], strict=True):
        if k in kinds and rng.random() < 0.8:
            record["category_id"] = kinds[k]["category_id"]
    return prediction, target


def colours(ids: Any) -> Any:
    """(H, W, 3) uint8, as COCO's PNG files have the ids."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def exact(images: list[tuple[Side, Side]]) -> dict[int, dict[str, Any]]:
    """For each category id that was counted: tp, fp, fn, segments, and the sums of IoU as fractions."""
    found: dict[int, dict[str, Any]] = defaultdict(
        lambda: {"tp": 0, "fp": 0, "fn": 0, "segments": 0, "iou": Fraction(0), "any": Fraction(0)}
    )
    for prediction, target in images:
        t, p = np.asarray(target["segmentation"]), np.asarray(prediction["segmentation"])
        hits, taken = set(), set()
        for true in target["segments_info"]:
            if true.get("iscrowd", 0):
                continue
            entry = found[true["category_id"]]
            entry["segments"] += 1
            for guess in prediction["segments_info"]:
                a, b = t == true["id"], p == guess["id"]
                common = int((a & b).sum())
                if not common or true["category_id"] != guess["category_id"]:
                    continue
                iou = Fraction(common, int((a | (b & (t != 0))).sum()))
                entry["any"] += iou
                if 2 * iou > 1:
                    entry["iou"] += iou
                    entry["tp"] += 1
                    hits.add(true["id"])
                    taken.add(guess["id"])
            entry["fn"] += true["id"] not in hits
        for guess in prediction["segments_info"]:
            b = p == guess["id"]
            crowds = [
                true["id"]
                for true in target["segments_info"]
                if true.get("iscrowd", 0) and true["category_id"] == guess["category_id"]
            ]
            gone = int((b & ((t == 0) | np.isin(t, crowds))).sum())
            if guess["id"] not in taken and 2 * gone <= int(b.sum()):
                found[guess["category_id"]]["fp"] += 1
    return found
