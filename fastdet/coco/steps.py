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
from fastdet._files.coco_values import FIELD_OF
from fastdet.coco import hooks
from fastdet.coco.dataset import COCO, QUERIES
from fastdet.detection import records as matching
from fastdet.detection.records import CROWD, IGNORED, Columns, Rows, Rule
from fastdet.keypoints.similarity import COCO_SIGMAS, CROWDPOSE_SIGMAS, check_sigmas
from fastdet.masks import RLE

Groups = defaultdict[tuple[Any, Any], list[Any]]
SHAPES = {**matching.SHAPES, "keypoints_crowd": "keypoints"}  # what a kind of evaluation reads


class ImageRecord(dict[str, Any]):
    """An entry of ``evalImgs``. ``dtMatches`` cannot tell a match with an annotation of the id 0: this can."""

    zero: Array | None = None  # (T, D) bool, matched with an annotation whose id is 0


def asks(coco: Any) -> bool:
    """Whether annotations come from ``getAnnIds`` and ``loadAnns``: of another package, or a script's own."""
    return not isinstance(coco, COCO) or bool(hooks.replaced(coco, QUERIES))


def columns(name: str, coco: Any, p: Any) -> Columns:
    """What ``cocoGt`` or ``cocoDt`` has of the images and classes to evaluate, or more."""
    if not asks(coco):
        shapes: Columns = coco._columns(p.imgIds, SHAPES[p.iouType])
        return shapes
    where = f"COCOeval: {name}"
    return columns_of(
        where, "annotations", asked(coco, p), results=False, iou_type=SHAPES[p.iouType], sizes=sizes_of(coco),
        detected=name == "cocoDt",
    )  # fmt: skip


def asked(coco: Any, p: Any) -> list[Any]:
    """The dictionaries to evaluate, as pycocotools asks for them."""
    if not asks(coco):
        coco._require_unchanged()
    chosen = {"imgIds": p.imgIds, "catIds": p.catIds} if p.useCats else {"imgIds": p.imgIds}
    return list(coco.loadAnns(coco.getAnnIds(**chosen)))


def sizes_of(coco: Any) -> dict[Any, tuple[int, int]]:
    """Height and width of each image that has them, by its id."""
    images = getattr(coco, "imgs", {})
    return {i: (image["height"], image["width"]) for i, image in images.items() if {"height", "width"} <= image.keys()}


def prepare(truth: Any, detections: Any, p: Any) -> tuple[Groups, Groups]:
    """(_gts, _dts): the dictionaries of each image id and category id. Sets ``ignore`` of true boxes, as pycocotools.

    pycocotools overwrites a data set's own ``ignore`` by ``iscrowd``, and ``segmentation`` by its run lengths.
    """
    shape = SHAPES[p.iouType]
    field = FIELD_OF[shape]
    sides = (("truth", truth, asked(truth, p)), ("detections", detections, asked(detections, p)))
    for where, coco, records in sides:
        given = [record for record in records if field in record]  # an own computeIoU may do without
        options: dict[str, Any] = {"results": where == "detections", "iou_type": shape, "sizes": sizes_of(coco)}
        read = columns_of(f"COCOeval: {where}", "annotations", given, **options)
        if read.masks is not None:
            for record, mask in zip(given, read.masks.to_coco(), strict=True):
                record["segmentation"] = mask
    for gt in sides[0][2]:
        gt["ignore"] = "iscrowd" in gt and gt["iscrowd"]
        if shape == "keypoints":
            gt["ignore"] = not shown(gt) or gt["ignore"]
    grouped: tuple[Groups, Groups] = defaultdict(list), defaultdict(list)
    for groups, (_, _, listed) in zip(grouped, sides, strict=True):
        for annotation in listed:
            groups[annotation["image_id"], annotation["category_id"]].append(annotation)
    return grouped


def shown(annotation: Mapping[str, Any]) -> bool:
    """Whether a person has keypoints: ``num_keypoints``, else those with a visibility above 0."""
    count = annotation.get("num_keypoints")
    return bool(count) if count is not None else any(v > 0 for v in annotation.get("keypoints", ())[2::3])


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
    """(D, G) overlap of an image's detections, by falling score, and true boxes; [] where one of them is absent."""
    gt, dt = _of(gts, p, image, category), _ranked(_of(dts, p, image, category), p.maxDets[-1])
    if not gt or not dt:
        return []
    d, g = (_rows(annotations, SHAPES[p.iouType]) for annotations in (dt, gt))
    rule = Rule(np.zeros(0), np.zeros((0, 2)), **of_kind(p))
    one_group = tuple(x for side in (dt, gt) for x in (np.arange(len(side)), np.array([0, len(side)])))
    return matching.overlaps_of_groups(rule, d, g, one_group, None).reshape(len(dt), len(gt))  # type: ignore[arg-type]


def of_kind(p: Any) -> dict[str, Any]:
    """The options of `Rule` that say what overlaps are of."""
    kind = SHAPES[p.iouType]
    if kind != "keypoints":
        return {"iou_type": p.iouType}
    crowd = p.iouType == "keypoints_crowd"  # parameters of pycocotools' own, or of a script, may lack what is new
    sigmas = getattr(p, "kpt_oks_sigmas", CROWDPOSE_SIGMAS if crowd else COCO_SIGMAS)
    use_area = bool(getattr(p, "use_area", not crowd))
    return {"iou_type": kind, "sigmas": check_sigmas("COCOeval", sigmas), "use_area": use_area}


def _rows(annotations: Sequence[Any], shape: str) -> Rows:
    """The rows of one image and category. Boxes that are not needed may be absent."""
    n = len(annotations)
    boxes = np.array([x.get("bbox") or [0, 0, 0, 0] for x in annotations], np.float64)
    areas = np.array([area(x) if "bbox" in x or "area" in x else 0 for x in annotations], np.float64)
    flags = np.array([CROWD * bool(x.get("iscrowd", 0)) for x in annotations], np.uint8)
    rows = Rows(np.zeros(n, np.int64), boxes, areas, np.zeros(0), flags)
    if shape == "segm":
        return rows._replace(masks=RLE.from_coco([x["segmentation"] for x in annotations]))
    if shape == "keypoints":
        points = [x["keypoints"] for x in annotations]
        return rows._replace(keypoints=np.array(points, np.float64).reshape(n, -1, 3))
    return rows


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
