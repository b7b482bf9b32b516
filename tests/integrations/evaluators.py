"""Evaluators of other packages on invented data, with pycocotools itself or with fastdet inside.

    python evaluators.py own|inside NAME     prints every figure, floats in full

test_pycocotools.py compares the two.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, IMAGES, CLASSES = 120, 20, 3
Json = dict[str, Any]


def shapes(seed: int = 0) -> list[tuple[Json, Json]]:
    """Of each image objects and detections: boxes (corners), scores with ties, labels, dense masks, key points."""
    r = np.random.default_rng(seed)
    images = []
    for image in range(IMAGES):
        n = int(r.integers(0, 7)) if image else 0  # the first has none
        corner, size = r.uniform(0, 60, (n, 2)), r.uniform(4, 58, (n, 2))
        boxes, labels = np.concatenate([corner, corner + size], axis=1), r.integers(1, CLASSES + 1, n)
        own = r.integers(0, n, 3 * n) if n else np.zeros(0, int)
        near = np.clip(boxes[own] + r.normal(0, 4, (len(own), 4)), 0, SIDE - 1)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        other = r.random(len(own)) < 0.2
        found_labels = np.where(other, r.integers(1, CLASSES + 1, len(own)), labels[own])
        scores = r.integers(1, 12, len(own)) / 12
        points = np.concatenate(
            [boxes[:, :2].repeat(17, 0) + r.uniform(0, 30, (17 * n, 2)), np.full((17 * n, 1), 2)], 1
        )
        points = points.reshape(n, 17, 3)
        truth = {"boxes": boxes, "labels": labels, "iscrowd": (r.random(n) < 0.15).astype(int), "points": points}
        found = {
            "boxes": near,
            "labels": found_labels,
            "scores": scores,
            "points": points[own] + r.normal(0, 2, (len(own), 17, 3)),
        }
        for part in (truth, found):
            part["masks"] = dense(part["boxes"])
        images.append((truth, found))
    return images


def dense(boxes: Any) -> Any:
    """(N, SIDE, SIDE) uint8: boxes without a corner."""
    y, x = np.mgrid[:SIDE, :SIDE][:, None]
    x1, y1, x2, y2 = boxes.T[:, :, None, None]
    return ((x >= x1) & (x < x2) & (y >= y1) & (y < y2) & (x - x1 + y - y1 > 0.3 * (x2 - x1))).astype(np.uint8)


def as_coco() -> tuple[Json, list[Json]]:
    from pycocotools import mask

    truth: list[Json] = []
    results: list[Json] = []
    for image, parts in enumerate(shapes()):
        for part, records in zip(parts, (truth, results), strict=True):
            runs = mask.encode(np.asfortranarray(part["masks"].transpose(1, 2, 0)))
            for k, (x1, y1, x2, y2) in enumerate(part["boxes"].tolist()):
                record = {"image_id": image, "category_id": int(part["labels"][k]), "bbox": [x1, y1, x2 - x1, y2 - y1]}
                record["segmentation"] = {"size": runs[k]["size"], "counts": runs[k]["counts"].decode()}
                record["keypoints"] = part["points"][k].reshape(-1).tolist()
                if "scores" in part:
                    record["score"] = float(part["scores"][k])
                else:
                    more = {"iscrowd": int(part["iscrowd"][k]), "num_keypoints": 17, "ignore": 0}
                    record |= {"id": len(truth) + 1, "area": float(part["masks"][k].sum()), **more}
                records.append(record)
    images = [{"id": i, "height": SIDE, "width": SIDE, "file_name": f"{i}.jpg"} for i in range(IMAGES)]
    categories = [{"id": k + 1, "name": f"class {k + 1}"} for k in range(CLASSES)]
    return {"info": {}, "images": images, "categories": categories, "annotations": truth}, results


def torchmetrics() -> Any:
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    found: Json = {}
    for kinds in ("bbox", "segm", ("bbox", "segm")):
        options: Json = {"class_metrics": True, "extended_summary": True, "backend": "pycocotools"}
        metric = MeanAveragePrecision(iou_type=kinds, **options)
        metric.warn_on_many_detections = False
        for truth, detections in shapes():
            target, prediction = (
                {
                    "boxes": torch.from_numpy(part["boxes"]).float(),
                    "labels": torch.from_numpy(part["labels"]),
                    "masks": torch.from_numpy(part["masks"].astype(bool)),
                }
                for part in (truth, detections)
            )
            prediction["scores"] = torch.from_numpy(detections["scores"]).float()
            target["iscrowd"] = torch.from_numpy(truth["iscrowd"])
            metric.update([prediction], [target])
        found[str(kinds)] = metric.compute()
    return found


def lvis() -> Any:
    setattr(np, "float", float)  # noqa: B010  lvis 0.5 was written for an older NumPy
    from lvis import LVIS, LVISEval, LVISResults

    truth, results = as_coco()
    for image in truth["images"]:
        image |= {"not_exhaustive_category_ids": [3] if image["id"] % 4 == 0 else [], "neg_category_ids": [1, 2, 3]}
        image["coco_url"] = ""
    for k, category in enumerate(truth["categories"]):
        category |= {
            "frequency": "rcf"[k],
            "image_count": 1,
            "instance_count": 1,
            "synset": "",
            "def": "",
            "synonyms": [],
        }
    truth["annotations"] = [{**record, "iscrowd": 0} for record in truth["annotations"]]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "truth.json")
        path.write_text(json.dumps(truth))
        for kind in ("bbox", "segm"):
            gt = LVIS(str(path))
            made = LVISEval(gt, LVISResults(gt, json.loads(json.dumps(results))), kind)
            made.run()
            found[kind] = {"results": dict(made.results), "precision": made.eval["precision"]}
    return found


def mmdet() -> Any:
    from mmdet.evaluation import CocoMetric

    truth, _ = as_coco()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "truth.json")
        path.write_text(json.dumps(truth))
        metric = CocoMetric(ann_file=str(path), metric=["bbox", "segm"], classwise=True, outfile_prefix=f"{folder}/x")
        metric.dataset_meta = {"classes": [category["name"] for category in truth["categories"]]}
        import torch

        for image, (_, part) in enumerate(shapes()):
            predicted = {
                "bboxes": torch.from_numpy(part["boxes"]).float(),
                "scores": torch.from_numpy(part["scores"]).float(),
            }
            predicted |= {
                "labels": torch.from_numpy(part["labels"] - 1),
                "masks": torch.from_numpy(part["masks"].astype(bool)),
            }
            metric.process({}, [{"img_id": image, "ori_shape": (SIDE, SIDE), "pred_instances": predicted}])
        found["figures"] = metric.evaluate(size=IMAGES)
    return found


def image_by_image() -> Any:
    """The shape of torchvision's CocoEvaluator, in both of its forms: results of one image, steps by hand, joined."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = as_coco()
    found = {}
    for kind in ("bbox", "segm", "keypoints"):
        for by_hand in (False, True):
            gt = COCO()
            gt.dataset = json.loads(json.dumps(truth))
            gt.createIndex()
            made, parts = COCOeval(gt, iouType=kind), []
            for image in range(IMAGES):
                of_image = json.loads(json.dumps([r for r in results if r["image_id"] == image]))
                made.cocoDt = gt.loadRes(of_image) if of_image else COCO()
                made.params.imgIds = [image]
                parts.append(steps(made) if by_hand else whole(made))
            made.evalImgs = list(np.concatenate(parts, 2).flatten())
            made.params.imgIds = list(range(IMAGES))
            made._paramsEval = copy.deepcopy(made.params)
            made.accumulate()
            made.summarize()
            found[f"{kind} {by_hand}"] = {
                "stats": made.stats,
                **{k: made.eval[k] for k in ("precision", "recall", "scores")},
            }
    return found


def whole(made: Any) -> Any:
    made.evaluate()
    p = made.params
    return np.asarray(made.evalImgs).reshape(-1, len(p.areaRng), len(p.imgIds))


def steps(made: Any) -> Any:
    p = made.params
    p.imgIds, p.catIds, p.maxDets = list(np.unique(p.imgIds)), list(np.unique(p.catIds)), sorted(p.maxDets)
    made._prepare()
    overlap = made.computeOks if p.iouType == "keypoints" else made.computeIoU
    made.ious = {(image, label): overlap(image, label) for image in p.imgIds for label in p.catIds}
    areas = [(label, area, image) for label in p.catIds for area in p.areaRng for image in p.imgIds]
    found = [made.evaluateImg(image, label, area, p.maxDets[-1]) for label, area, image in areas]
    return np.asarray(found).reshape(len(p.catIds), len(p.areaRng), len(p.imgIds))


def read_by_a_kernel() -> Any:
    """The shape of detectron2's fast evaluator: what its C++ is given comes out of `_prepare` and `computeIoU`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Fast(COCOeval):
        def evaluate(self) -> None:
            p = self.params
            p.imgIds, p.catIds = list(np.unique(p.imgIds)), list(np.unique(p.catIds))
            self._prepare()
            self.ious = {(i, c): self.computeIoU(i, c) for i in p.imgIds for c in p.catIds}
            keys = ("id", "area", "iscrowd", "ignore")
            self.given = [
                [
                    [{k: a.get(k, 0) for k in keys} for a in self._gts[i, c]],
                    [(a["id"], a["score"], a["area"]) for a in self._dts[i, c]],
                ]
                for i in p.imgIds
                for c in p.catIds
            ]

    truth, results = as_coco()
    gt = COCO()
    gt.dataset = truth
    gt.createIndex()
    found = {}
    for kind in ("bbox", "segm"):
        made = Fast(gt, gt.loadRes(json.loads(json.dumps(results))), kind)
        made.evaluate()
        found[kind] = [made.given, [np.asarray(x) for x in made.ious.values()]]
    return found


EVALUATORS: dict[str, Callable[[], Any]] = {
    "torchmetrics": torchmetrics,
    "lvis": lvis,
    "mmdet": mmdet,
    "image_by_image": image_by_image,
    "read_by_a_kernel": read_by_a_kernel,
}


def in_full(x: Any) -> Any:
    """Plain values of an answer; floats as hexadecimal text, with their types."""
    if isinstance(x, dict):
        return {_key(key): in_full(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [in_full(value) for value in x]
    if hasattr(x, "numpy"):
        x = x.numpy()
    if isinstance(x, np.ndarray):
        return [str(x.dtype), list(x.shape), [in_full(value) for value in x.reshape(-1).tolist()]]
    return x.hex() if isinstance(x, float) else x if isinstance(x, (int, str, type(None))) else repr(x)


def _key(key: Any) -> str:
    """pycocotools has keys (image, category) of NumPy's integers, which equal Python's and look otherwise."""
    return str(
        tuple(getattr(part, "item", lambda part=part: part)() for part in key) if isinstance(key, tuple) else key
    )


def main() -> None:
    if "mmdet" in sys.argv:
        from fastdet import integrations

        integrations.mmcv()  # mmdet imports mmcv's operators; the same in both processes
    if sys.argv[1] == "inside":
        from fastdet import integrations

        integrations.pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):
        found = in_full(EVALUATORS[sys.argv[2]]())
    import pycocotools.coco

    assert pycocotools.coco.COCO.__module__ == ("fastdet.coco" if sys.argv[1] == "inside" else "pycocotools.coco")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
