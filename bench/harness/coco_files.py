"""A synthetic data set of val2017's size, as COCO files and as arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

IMAGES, CLASSES, BOXES = 5000, 80, 36_000


def generate(folder: Path, detections: int, seed: int = 0) -> tuple[Path, Path]:
    """36,000 boxes, 1 % of them crowds; half of the detections lie near a box of their class, the rest anywhere.

    Beyond 500,000 detections there are more images, so that the number of detections of an image stays the same.
    """
    r = np.random.default_rng(seed)
    scale = max(1, detections // 500_000)
    images, boxes = IMAGES * scale, BOXES * scale
    box = np.concatenate([r.random((boxes, 2)) * 500, np.exp(r.normal(4, 0.9, (boxes, 2)))], axis=1).round(2)
    image, label = r.integers(0, images, boxes), (CLASSES * r.random(boxes) ** 3).astype(int)
    own = r.integers(0, boxes, detections)
    found = box[own] + r.normal(0, 0.15, (detections, 4)) * box[own][:, [2, 3, 2, 3]]
    found[:, 2:] = np.abs(found[:, 2:])
    near = r.random(detections) < 0.5
    of_image = np.where(near, image[own], r.integers(0, images, detections))
    of_label = np.where(near, label[own], (CLASSES * r.random(detections) ** 3).astype(int))
    score = r.random(detections).round(6)
    ids = np.sort(r.choice(600_000 * scale, images, replace=False)).tolist()
    gt: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in ids],
        "categories": [{"id": k + 1, "name": f"class {k}", "supercategory": "any"} for k in range(CLASSES)],
        "annotations": [
            {"id": j + 1, "image_id": ids[i], "category_id": k + 1, "bbox": b, "area": b[2] * b[3],
             "iscrowd": int(j % 100 == 0), "segmentation": [b * 6]}
            for j, (i, k, b) in enumerate(zip(image.tolist(), label.tolist(), box.tolist(), strict=True))
        ],
    }  # fmt: skip
    paths = folder / "gt.json", folder / "dt.json"
    paths[0].write_text(json.dumps(gt))
    with paths[1].open("w") as file:
        file.write("[")
        rows = zip(of_image.tolist(), of_label.tolist(), found.round(3).tolist(), score.tolist(), strict=True)
        for j, (i, k, b, s) in enumerate(rows):
            row = {"image_id": ids[i], "category_id": k + 1, "bbox": b, "score": s}
            file.write((", " if j else "") + json.dumps(row))
        file.write("]")
    return paths


def generate_images(folder: Path, images: int, seed: int = 0) -> tuple[Path]:
    """Similar data as arrays, image by image: 100 detections and 7 true boxes each, corners in float32."""
    r = np.random.default_rng(seed)
    found, true = images * 100, images * 36 // 5
    corner = r.random((true, 2)) * 500
    boxes = np.concatenate([corner, corner + np.exp(r.normal(4, 0.9, (true, 2)))], axis=1)
    of_true = np.sort(r.integers(0, images, true))
    own = r.integers(0, true, found)
    order = np.argsort(of_true[own], kind="stable")
    own = own[order]
    near = boxes[own] + r.normal(0, 0.1, (found, 4)) * np.tile(boxes[own][:, 2:] - boxes[own][:, :2], 2)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
    true_labels = (CLASSES * r.random(true) ** 3).astype(np.int64)
    labels = np.where(r.random(found) < 0.5, true_labels[own], (CLASSES * r.random(found) ** 3).astype(np.int64))
    path = folder / "images.npz"
    np.savez(
        path, true=boxes.astype(np.float32), true_labels=true_labels, found=near.astype(np.float32), labels=labels,
        scores=r.random(found).astype(np.float32), of_true=np.searchsorted(of_true, np.arange(images + 1)),
        of_found=np.searchsorted(of_true[own], np.arange(images + 1)),
    )  # fmt: skip
    return (path,)
