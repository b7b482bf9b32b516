"""The steps of pycocotools' evaluation on dictionaries, image by image, for scripts that call or replace one of them.

`COCOeval.evaluate` computes the same from columns, all at once, where no step was replaced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco_objects import columns_of
from fastdet.coco import hooks
from fastdet.coco.dataset import COCO, QUERIES
from fastdet.detection import records as matching
from fastdet.detection.records import IGNORED, Columns

Groups = defaultdict[tuple[Any, Any], list[Any]]


class ImageRecord(dict[str, Any]):
    """An entry of ``evalImgs``. ``dtMatches`` cannot tell a match with an annotation of the id 0: this can."""

    zero: Array | None = None  # (T, D) bool, matched with an annotation whose id is 0


def asks(coco: Any) -> bool:
    """Whether annotations come from ``getAnnIds`` and ``loadAnns``: of another package, or a script's own."""
    return not isinstance(coco, COCO) or bool(hooks.replaced(coco, QUERIES))


def columns(name: str, coco: Any, p: Any) -> Columns:
    """The boxes of ``cocoGt`` or ``cocoDt``, at least those of the images and classes to evaluate."""
    if not asks(coco):
        boxes: Columns = coco._columns(p.imgIds)
        return boxes
    return columns_of(f"COCOeval: {name}", "annotations", asked(coco, p), results=False)


def asked(coco: Any, p: Any) -> list[Any]:
    """The dictionaries to evaluate, as pycocotools asks for them."""
    if not asks(coco):
        coco._require_unchanged()
    chosen = {"imgIds": p.imgIds, "catIds": p.catIds} if p.useCats else {"imgIds": p.imgIds}
    return list(coco.loadAnns(coco.getAnnIds(**chosen)))


def prepare(truth: Any, detections: Any, p: Any) -> tuple[Groups, Groups]:
    """(_gts, _dts): the dictionaries of each image id and category id. Sets ``ignore`` of true boxes, as pycocotools.

    pycocotools overwrites a data set's own ``ignore`` by ``iscrowd``.
    """
    gts, dts = asked(truth, p), asked(detections, p)
    for where, records, results in (("truth", gts, False), ("detections", dts, True)):
        with_box = [record for record in records if "bbox" in record]  # an own computeIoU may do without
        columns_of(f"COCOeval: {where}", "annotations", with_box, results=results)
    for gt in gts:
        gt["ignore"] = "iscrowd" in gt and gt["iscrowd"]
    grouped: tuple[Groups, Groups] = defaultdict(list), defaultdict(list)
    for groups, listed in zip(grouped, (gts, dts), strict=True):
        for annotation in listed:
            groups[annotation["image_id"], annotation["category_id"]].append(annotation)
    return grouped


def _of(groups: Mapping[Any, list[Any]], p: Any, image: Any, category: Any) -> list[Any]:
    if p.useCats:
        return list(groups[image, category])
    return [x for k in p.catIds for x in groups[image, k]]


def _ranked(detections: Sequence[Any], limit: int) -> list[Any]:
    """The best detections by score, equal scores as they come."""
    order = np.argsort([-d["score"] for d in detections], kind="stable")
    return [detections[i] for i in order[:limit]]


def area(annotation: Mapping[str, Any]) -> Any:
    """The stated area, else width times height."""
    return annotation["area"] if "area" in annotation else annotation["bbox"][2] * annotation["bbox"][3]


def compute_iou(gts: Groups, dts: Groups, p: Any, image: Any, category: Any) -> Any:
    """(D, G) IoU of an image's detections, by falling score, and true boxes; [] where one of them is absent."""
    gt, dt = _of(gts, p, image, category), _ranked(_of(dts, p, image, category), p.maxDets[-1])
    if not gt or not dt:
        return []
    d, g = (np.array([x["bbox"] for x in side], np.float64) for side in (dt, gt))
    return matching.overlap_reference(d, g, np.array([bool(x.get("iscrowd", 0)) for x in gt]), 0.0)


def evaluate_image(
    gts: Groups, dts: Groups, p: Any, ious: Mapping[Any, Any], image: Any, category: Any, limits: Any, max_dets: int
) -> ImageRecord | None:
    """pycocotools' dictionary of an image, a category and a range of areas; None without a box."""
    gt, dt = _of(gts, p, image, category), _of(dts, p, image, category)
    if not gt and not dt:
        return None
    for g in gt:
        g["_ignore"] = int(bool(g["ignore"]) or not limits[0] <= area(g) <= limits[1])
    place = np.argsort([g["_ignore"] for g in gt], kind="stable")
    gt, dt = [gt[i] for i in place], _ranked(dt, max_dets)
    overlaps = ious[image, category]
    overlaps = np.asarray(overlaps)[:, place] if len(overlaps) else np.zeros((len(dt), len(gt)))
    if np.isnan(overlaps).any():
        raise ValueError(f"COCOeval.computeIoU: must give numbers, got NaN for image {image}, category {category}")
    ignored = np.array([g["_ignore"] for g in gt], np.int64)
    crowd = np.array([bool(g.get("iscrowd", 0)) for g in gt], bool)
    outside = np.array([not limits[0] <= area(d) <= limits[1] for d in dt], bool)
    T = len(p.iouThrs)
    to_truth, to_detection = np.zeros((T, len(dt))), np.zeros((T, len(gt)))
    ignores, zero = np.zeros((T, len(dt)), bool), np.zeros((T, len(dt)), bool)
    for t, threshold in enumerate(p.iouThrs):
        result = np.where(outside, IGNORED, matching.FALSE)
        matches = matching.match_coco(overlaps[: len(dt)], threshold, ignored > 0, crowd, result)
        for d, g in enumerate(matches):
            if g >= 0:
                to_truth[t, d], to_detection[t, g] = gt[g]["id"], dt[d]["id"]
                zero[t, d] = gt[g]["id"] == 0
        ignores[t] = result == IGNORED
    entry = ImageRecord({
        "image_id": image, "category_id": category, "aRng": limits, "maxDet": max_dets,
        "dtIds": [d["id"] for d in dt], "gtIds": [g["id"] for g in gt], "dtMatches": to_truth,
        "gtMatches": to_detection, "dtScores": [d["score"] for d in dt], "gtIgnore": ignored, "dtIgnore": ignores,
    })  # fmt: skip
    entry.zero = zero if zero.any() else None
    return entry
