"""Small made data sets of masks and of poses, as COCO has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet import masks

Json = dict[str, Any]


def polygon(r: np.random.Generator, h: int, w: int) -> list[float]:
    n, (x, y) = int(r.integers(3, 9)), r.random(2) * [w, h]
    angle = np.sort(r.random(n)) * 2 * np.pi
    radius = r.random() * 20 + 1
    return [
        float(v) for v in np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1).round(2).reshape(-1)
    ]


def mask_data(r: np.random.Generator) -> tuple[Json, list[Json]]:
    """A few images with polygons and crowds, and detections near them as run lengths; some with boxes."""
    images, annotations, results = [], [], []
    with_boxes = bool(r.integers(0, 2))
    for i in range(int(r.integers(1, 5))):
        h, w = (int(x) for x in r.integers(8, 60, 2))
        images.append({"id": i + 3, "height": h, "width": w})
        for _ in range(int(r.integers(0, 6))):
            parts = [polygon(r, h, w) for _ in range(int(r.integers(1, 3)))]
            drawn = masks.from_polygons([parts], (h, w))
            crowd = r.random() < 0.2
            label = int(r.integers(1, 4))
            x1, y1, x2, y2 = masks.to_boxes(drawn)[0].tolist()
            annotations.append({
                "id": len(annotations) + 1, "image_id": i + 3, "category_id": label, "iscrowd": int(crowd),
                "area": float(masks.area(drawn)[0]) + float(r.integers(0, 2)) * 0.5, "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": drawn.to_coco(compressed=False)[0] if crowd else parts,
            })  # fmt: skip
            for _ in range(int(r.integers(0, 4))):
                moved = [[float(v + r.normal(0, 1.5)) for v in part] for part in parts]
                found = masks.from_polygons([moved], (h, w))
                record = {
                    "image_id": i + 3, "category_id": label if r.random() < 0.9 else int(r.integers(1, 4)),
                    "score": float(r.random().__round__(1)), "segmentation": found.to_coco()[0],
                }  # fmt: skip
                if with_boxes:
                    x1, y1, x2, y2 = masks.to_boxes(found)[0].tolist()
                    record["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                results.append(record)
    categories = [{"id": k, "name": f"c{k}"} for k in (1, 2, 3)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def pose_data(r: np.random.Generator) -> tuple[Json, list[Json]]:
    images, annotations, results = [], [], []
    for i in range(int(r.integers(1, 5))):
        images.append({"id": i + 3, "height": 480, "width": 640})
        for _ in range(int(r.integers(0, 5))):
            size = float(r.choice([20, 60, 200]))
            pose = np.concatenate([(r.random((17, 2)) * size).round(), r.integers(0, 3, (17, 1))], 1)
            pose[:, 2] *= r.random() > 0.15
            x, y = pose[:, :2].min(0)
            w, h = pose[:, :2].max(0) - [x, y]
            annotations.append({
                "id": len(annotations) + 1, "image_id": i + 3, "category_id": 1, "iscrowd": 0,
                "num_keypoints": int((pose[:, 2] > 0).sum()), "area": float(w * h * r.random()),
                "bbox": [float(v) for v in (x, y, w, h)], "keypoints": [int(v) for v in pose.reshape(-1)],
            })  # fmt: skip
            for _ in range(int(r.integers(0, 6))):
                found = pose + np.concatenate([r.normal(0, size / 20, (17, 2)).round(1), r.random((17, 1))], 1)
                results.append({
                    "image_id": i + 3, "category_id": 1, "score": float(r.random().__round__(1)),
                    "keypoints": [float(v) for v in found.reshape(-1)],
                })  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}, results
