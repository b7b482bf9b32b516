"""Cases of pycocotools for bench/integrations.py: evaluation of boxes and masks, and the functions of masks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

PACKAGES = ("pycocotools",)
IMAGES, CLASSES = 200, 20


def data(kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A data set and results: 8 objects and 30 detections in each image."""
    from pycocotools import mask

    r = np.random.default_rng(0)
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(IMAGES):
        corner, size = r.uniform(0, 250, (8, 2)), r.uniform(10, 150, (8, 2))
        for k in range(30):
            own = k % 8
            x, y, w, h = np.concatenate([corner[own], size[own]]) + r.normal(0, 4, 4) * (k >= 8)
            category = int(r.integers(1, CLASSES + 1)) if k < 8 else truth[-8 + own]["category_id"]
            record: dict[str, Any] = {"image_id": image + 1, "category_id": category, "bbox": [x, y, abs(w), abs(h)]}
            if kind == "segm":
                ring = [x, y, x + w, y, x + w, y + h, x + w / 2, y + h / 2, x, y + h]
                record["segmentation"] = mask.frPyObjects([np.clip(ring, 0, 400).tolist()], 400, 400)[0]
            if k < 8:
                truth.append(record | {"id": len(truth) + 1, "iscrowd": 0, "area": abs(w * h)})
            else:
                found.append(record | {"score": float(r.random())})
    images = [{"id": i + 1, "width": 400, "height": 400} for i in range(IMAGES)]
    return {"images": images, "categories": [{"id": k + 1} for k in range(CLASSES)], "annotations": truth}, found


def evaluation(kind: str) -> Callable[[], Any]:
    truth, found = data(kind)

    def call() -> dict[str, Any]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            gt = COCO()
            gt.dataset = {**truth, "annotations": [dict(x) for x in truth["annotations"]]}
            gt.createIndex()
            made = COCOeval(gt, gt.loadRes([dict(x) for x in found]), kind)
            made.evaluate()
            made.accumulate()
            made.summarize()
        return {"stats": made.stats, "precision": made.eval["precision"], "recall": made.eval["recall"]}

    return call


def cases() -> Iterator[tuple[str, Callable[[], Any], None]]:
    import pycocotools.mask as mask

    yield f"COCOeval of boxes, {IMAGES} images", evaluation("bbox"), None
    yield f"COCOeval of masks, {IMAGES} images", evaluation("segm"), None
    r = np.random.default_rng(1)
    dense = np.asfortranarray(r.random((25, 20, 100)).repeat(20, 0).repeat(20, 1) > 0.6, np.uint8)
    runs = mask.encode(dense)
    yield "mask.encode, 100 of 500 x 400", lambda: mask.encode(dense), None
    yield "mask.decode, 100 of 500 x 400", lambda: mask.decode(runs), None
    yield "mask.iou, 100 x 100", lambda: mask.iou(runs, runs, [0] * 100), None
