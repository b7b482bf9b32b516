"""Data sets of masks and of poses, as COCO files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "coco_val2014_100"
COPIES, IMAGES, PEOPLE = 50, 5000, 11_004


def generate_masks(folder: Path, detections: int) -> tuple[Path, Path]:
    """The sample of 100 COCO images fifty times: 41,950 masks and 36,700 detections.

    For more detections, each is moved by up to four pixels, in all directions, as often as it takes.
    """
    from fastdet.masks import RLE, decode, encode

    truth = json.loads((SAMPLE / "instances_val2014_100.json").read_text())
    found = json.loads((SAMPLE / "instances_val2014_fakesegm100_results.json").read_text())
    times = max(1, round(detections / (COPIES * len(found))))
    if times > 1:
        r, moved = np.random.default_rng(0), []
        for record in found:
            mask = decode(RLE.from_coco(record["segmentation"]))[0]
            for _ in range(times):
                run = encode(np.roll(mask, tuple(r.integers(-4, 5, 2)), (0, 1))[None]).to_coco()[0]
                run["counts"] = run["counts"].decode()
                moved.append({**record, "segmentation": run, "score": float(r.random())})
        found = moved
    images, annotations, results = [], [], []
    for copy in range(COPIES):
        first = copy * 1_000_000
        images += [{**image, "id": image["id"] + first} for image in truth["images"]]
        for record in truth["annotations"]:
            annotations.append({**record, "id": len(annotations) + 1, "image_id": record["image_id"] + first})
        results += [{**record, "image_id": record["image_id"] + first} for record in found]
    data = {"images": images, "annotations": annotations, "categories": truth["categories"]}
    return written(folder, data, results)


def generate_poses(folder: Path, detections: int) -> tuple[Path, Path]:
    """11,004 people in 5,000 images, and poses near them."""
    r = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    for k in range(PEOPLE):
        pose = np.concatenate([r.random((17, 2)) * [200, 300] + r.random(2) * [400, 180], r.integers(0, 3, (17, 1))], 1)
        pose = pose.round()
        low, high = pose[:, :2].min(0), pose[:, :2].max(0)
        annotations.append({
            "id": k + 1, "image_id": int(r.integers(IMAGES)), "category_id": 1, "iscrowd": 0,
            "num_keypoints": int((pose[:, 2] > 0).sum()), "area": float(np.prod(high - low) * 0.6),
            "bbox": [*low.tolist(), *(high - low).tolist()], "keypoints": pose.astype(int).reshape(-1).tolist(),
        })  # fmt: skip
    results = []
    for _ in range(detections):
        near = annotations[int(r.integers(PEOPLE))]
        pose = np.array(near["keypoints"], np.float64).reshape(17, 3)
        pose[:, :2] += r.normal(0, r.random() * 30 + 1, (17, 2))
        results.append({
            "image_id": near["image_id"], "category_id": 1, "score": round(float(r.random()), 5),
            "keypoints": pose.round(3).reshape(-1).tolist(),
        })  # fmt: skip
    data = {
        "images": [{"id": i, "width": 640, "height": 480} for i in range(IMAGES)], "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    return written(folder, data, results)


def written(folder: Path, data: dict[str, Any], results: list[dict[str, Any]]) -> tuple[Path, Path]:
    paths = folder / "gt.json", folder / "dt.json"
    for path, content in zip(paths, (data, results), strict=True):
        path.write_text(json.dumps(content))
    return paths
