"""Average precision of rotated boxes: hotcoco's COCO style, the DOTA development kit's protocol, and the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need
from rotated_boxes import some_boxes

from fastdet import distributed
from fastdet.detection import DetectionMetrics, error_analysis
from fastdet.detection.records import Columns
from fastdet.rotated import box_convert_rotated, box_iou_rotated
from fastdet.rotated.groups import quad_overlap, rotated_iou_of_groups

Images = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def images(count: int, *, corners: bool = False, flag: str = "difficult") -> Images:
    """Detections near true boxes, repeated and stray ones."""
    rng = np.random.default_rng(count)
    predictions, targets = [], []
    for _ in range(count):
        true = some_boxes(rng, int(rng.integers(0, 9)), 120)
        near = true.repeat(2, 0) + rng.standard_normal((2 * len(true), 5)) * [2, 2, 2, 2, 6]
        boxes = np.concatenate([near, some_boxes(rng, 4, 120)])
        boxes[:, 2:4] = np.maximum(boxes[:, 2:4], 1)
        labels = rng.integers(0, 3, len(true))
        predictions.append({
            "boxes": as_corners(boxes) if corners else boxes,
            "scores": rng.permutation(len(boxes)) / 50 + rng.random(),
            "labels": np.concatenate([labels.repeat(2), rng.integers(0, 3, 4)]),
        })  # fmt: skip
        flags = (rng.random(len(true)) < 0.2).astype(int)
        targets.append({"boxes": as_corners(true) if corners else true, "labels": labels, flag: flags})
    return predictions, targets


def as_corners(boxes: Any) -> Any:
    return box_convert_rotated(boxes, "cxcywhr", "xyxyxyxy")


@pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
@pytest.mark.parametrize("corners", [False, True])
def test_overlaps_of_groups(backend: str, corners: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = some_boxes(rng, 30, 60), some_boxes(rng, 40, 60)
    want = np.where((crowd := rng.random(40) < 0.3)[None], box_iou_rotated(a, b, metric="iof"), box_iou_rotated(a, b))
    rows, true_rows = rng.permutation(30), rng.permutation(40)
    start, true_start = np.array([0, 0, 11, 30]), np.array([0, 7, 30, 40])
    parts = [want[np.ix_(rows[start[i] : start[i + 1]], true_rows[true_start[i] : true_start[i + 1]])].ravel()
             for i in range(3)]  # fmt: skip
    if corners:
        a, b = as_corners(a), as_corners(b)
    got = rotated_iou_of_groups(a, b, crowd, (rows, start, true_rows, true_start), backend=backend)
    np.testing.assert_allclose(got, np.concatenate(parts), rtol=0, atol=1e-12 if corners else 0)


@pytest.mark.parametrize("backend", ["numba", "cpp"])
def test_quadrilaterals_of_any_shape(backend: str) -> None:
    """Crossed ones, ones with a dent, ones without area: the reference's answer; never NaN, at most 1."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, (80, 8)).astype(float), rng.random((80, 8)) * 6
    a[:9], b[0], b[1] = 1e200 * a[:9], np.inf, np.nan
    whole = np.array([0, 80])
    given = a, b, np.arange(80) % 5 == 0, (np.arange(80), whole, np.arange(80), whole)
    want = rotated_iou_of_groups(*given, backend="reference")
    assert want.min() >= 0
    assert want.max() <= 1
    assert rotated_iou_of_groups(*given, backend=backend).tobytes() == want.tobytes()


def test_known_quadrilaterals() -> None:
    square, dent = np.array([0, 0, 4, 0, 4, 4, 0, 4.0]), np.array([0, 0, 4, 0, 1, 1, 0, 4.0])
    assert quad_overlap(square, square, False) == 1
    assert quad_overlap(square[[6, 7, 4, 5, 2, 3, 0, 1]], square, False) == 1  # the other way around
    assert quad_overlap(dent, square, False) == 0.25  # 4 of 16
    assert quad_overlap(dent, square, True) == 1
    assert quad_overlap(square, square + 4, False) == 0


def test_coco_style_is_hotcocos() -> None:
    hotcoco = need("hotcoco")
    predictions, targets = images(25, flag="iscrowd")
    metrics = DetectionMetrics(iou_type="rotated").update(predictions, targets, range(25))
    annotations, results = [], []
    for i, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        for box, label, crowd in zip(target["boxes"], target["labels"], target["iscrowd"], strict=True):
            annotations.append(record(i, label, box) | {"id": len(annotations) + 1, "iscrowd": int(crowd)})
        for box, label, score in zip(prediction["boxes"], prediction["labels"], prediction["scores"], strict=True):
            results.append(record(i, label, box) | {"score": float(score)})
    data = hotcoco.COCO({
        "images": [{"id": i, "width": 200, "height": 200, "file_name": f"{i}.png"} for i in range(25)],
        "annotations": annotations,
        "categories": [{"id": k, "name": str(k)} for k in range(3)],
    })  # fmt: skip
    theirs = hotcoco.COCOeval(data, data.load_res(results), "obb")
    theirs.evaluate()
    theirs.accumulate()
    with pytest.warns(UserWarning, match="oriented-box"):  # that nobody else has such figures
        theirs.summarize()
    ours = metrics.compute()
    keys = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100")
    np.testing.assert_allclose([ours[key] for key in keys], np.array(theirs.stats)[:9], rtol=0, atol=1e-9)


def record(image: int, label: Any, box: Any) -> dict[str, Any]:
    """Angles of hotcoco are radians, clockwise."""
    x, y, w, h, _ = box.tolist()
    r = -float(np.deg2rad(box[4]))
    return {
        "image_id": image, "category_id": int(label), "obb": [x, y, w, h, r], "area": w * h,
        "bbox": [x - w / 2, y - h / 2, w, h],
    }  # fmt: skip


def voc_ap(recall: Any, precision: Any, eleven: bool) -> float:
    """As the DOTA development kit has it, from the PASCAL VOC one."""
    if eleven:
        return float(np.mean([max(precision[recall >= t], default=0) for t in np.arange(0, 1.1, 0.1)]))
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[step + 1] - recall[step]) * precision[step + 1]).sum())


def dota_ap(predictions: Any, targets: Any, label: int, eleven: bool) -> float:
    """The protocol of the kit's dota_evaluation_task1.py, written from its description."""
    found = [
        (-score, i, box)
        for i, p in enumerate(predictions)
        for box, score, k in zip(p["boxes"], p["scores"], p["labels"], strict=True)
        if k == label
    ]
    found.sort(key=lambda item: item[0])
    true = [(t["boxes"][t["labels"] == label], t["difficult"][t["labels"] == label]) for t in targets]
    taken = [np.zeros(len(boxes), bool) for boxes, _ in true]
    hits, misses = [], []
    for _, i, box in found:
        boxes, difficult = true[i]
        overlap = np.array([quad_overlap(box, other, False) for other in boxes])
        best = int(np.argmax(overlap)) if len(overlap) else -1
        if best < 0 or not overlap[best] > 0.5:
            hits.append(0), misses.append(1)
        elif not difficult[best]:
            hits.append(int(not taken[i][best])), misses.append(int(taken[i][best]))
            taken[i][best] = True
    hits, misses = np.cumsum(hits), np.cumsum(misses)
    count = sum(int((difficult == 0).sum()) for _, difficult in true)
    return voc_ap(hits / count, hits / np.maximum(hits + misses, 1e-16), eleven)


@pytest.mark.parametrize("method", ["voc2007", "area"])
def test_dota_style(method: str) -> None:
    predictions, targets = images(20, corners=True)
    metrics = DetectionMetrics(
        iou_type="rotated", box_format="xyxyxyxy", rule="voc", method=method, iou_thresholds=[0.5],
        max_detections=[None],
    )  # fmt: skip
    got = metrics.update(predictions, targets).compute()
    want = [dota_ap(predictions, targets, label, method == "voc2007") for label in range(3)]
    np.testing.assert_allclose(got["map_per_class"], want, rtol=0, atol=1e-12)


def test_formats_agree() -> None:
    predictions, targets = images(9)
    want = DetectionMetrics(iou_type="rotated", class_metrics=False).update(predictions, targets).compute()
    for box_format in ("xywhr", "xyxyxyxy"):
        metrics = DetectionMetrics(iou_type="rotated", box_format=box_format, class_metrics=False)
        given = (
            [{**x, "boxes": box_convert_rotated(x["boxes"], "cxcywhr", box_format)} for x in part]
            for part in (predictions, targets)
        )
        got = metrics.update(*given).compute()
        assert {k: v for k, v in got.items() if k != "classes"} == {k: v for k, v in want.items() if k != "classes"}


def test_states_are_joined_and_kept() -> None:
    predictions, targets = images(12)
    whole = DetectionMetrics(iou_type="rotated").update(predictions, targets, range(12))
    parts = [DetectionMetrics(iou_type="rotated").update(predictions[i::2], targets[i::2], range(i, 12, 2))
             for i in (0, 1)]  # fmt: skip
    parts[0].merge_state([DetectionMetrics.from_bytes(parts[1].to_bytes())])
    assert parts[0].compute()["map"] == whole.compute()["map"]
    assert whole.of_type("rotated").compute()["map"] == whole.compute()["map"]


def test_inputs() -> None:
    predictions, targets = images(1)
    for options, text in (
        ({"iou_type": ("rotated", "bbox")}, "iou_type must be 'rotated' alone"),
        ({"iou_type": "rotated", "box_format": "xywh"}, "box_format must be one of 'cxcywhr', 'xywhr', 'xyxyxyxy'"),
        ({"box_format": "cxcywhr"}, "box_format must be one of 'xyxy', 'xywh', 'cxcywh'"),
    ):
        with pytest.raises(ValueError, match=text):
            DetectionMetrics(**options)
    metrics = DetectionMetrics(iou_type="rotated")
    four = [{**predictions[0], "boxes": predictions[0]["boxes"][:, :4]}]
    with pytest.raises(ValueError, match=r"predictions\[0\]\['boxes'\] must have shape \(N, 5\) in format 'cxcywhr'"):
        metrics.update(four, targets)
    bad = predictions[0]["boxes"].copy()
    bad[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"must not hold NaN, got NaN at index \(1, 4\)"):
        metrics.update([{**predictions[0], "boxes": bad}], targets)
    none = np.zeros(0, np.int64)
    columns = Columns(none, none, np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), none)
    with pytest.raises(ValueError, match=r"detections.rotated must be \(N, 5\) boxes, got None"):
        metrics.update_columns(columns, columns, [1])
    empty = [{"boxes": [], "scores": [], "labels": none}], [{"boxes": [], "labels": none}]
    assert metrics.update(*empty).compute()["map"] == -1


def test_error_analysis() -> None:
    predictions, targets = images(6)
    found = error_analysis(predictions, targets, iou_type="rotated")
    metrics = DetectionMetrics(iou_type="rotated", iou_thresholds=[0.5]).update(predictions, targets)
    assert found["ap"] == pytest.approx(metrics.compute()["map"], abs=1e-12)
    assert found["duplicate_count"] > 0
    with pytest.raises(ValueError, match="error_analysis: box_format must be one of 'cxcywhr'"):
        error_analysis(predictions, targets, iou_type="rotated", box_format="xywh")


def test_shards_hold_no_rotated_boxes() -> None:
    with pytest.raises(ValueError, match="iou_type must be one that COCO's files hold, got 'rotated'"):
        distributed.score("a.json", "b.json", iou_type="rotated")
