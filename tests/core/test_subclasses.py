"""Tensors of subclasses (tv_tensors, MetaTensor, ...): every public call takes them by one way in."""

from __future__ import annotations

import enum
from functools import cache
from typing import Any

import numpy as np
import pytest
from op_rows import comparable, equal
from op_tables import ARRAY_OPS, BOX_OPS
from optional import need
from samples import sample

from fastdet import boxes, detection, fusion, losses, nms, plots, pool, segmentation, upsample
from fastdet._core import dispatch

SINGLE = "box_iou out", "box_iou aligned out"  # rows that make a NumPy buffer themselves


class Format(enum.Enum):
    """As torchvision's BoundingBoxFormat."""

    XYXY = "XYXY"
    XYWH = "XYWH"
    CXCYWH = "CXCYWH"
    XYWHR = "XYWHR"


@pytest.fixture
def torch() -> Any:
    return need("torch")


@cache
def marked(torch: Any) -> Any:
    """A subclass that keeps its class, as torch does by default, and complains of what NumPy would read."""

    class Marked(torch.Tensor):  # type: ignore[misc]
        def numpy(self, *args: Any, **options: Any) -> Any:
            raise TypeError("not by this way")

    return lambda x: (x if isinstance(x, torch.Tensor) else torch.from_numpy(x.copy())).as_subclass(Marked)


def bounding_boxes(torch: Any, x: Any, stated: Any) -> Any:
    """As tv_tensors.BoundingBoxes: a format, and plain results of all operations."""

    class BoundingBoxes(torch.Tensor):  # type: ignore[misc]
        format: Any

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))

    result = torch.as_tensor(x).as_subclass(BoundingBoxes)
    result = result if isinstance(result, BoundingBoxes) else torch.Tensor._make_subclass(BoundingBoxes, result)
    result.format = stated
    return result


@pytest.mark.parametrize("name", [name for name in BOX_OPS if name not in SINGLE])
def test_box_ops_give_plain_results(torch: Any, name: str) -> None:
    data = sample("clustered", 20)
    got, want = (BOX_OPS[name].call(data, None, make) for make in (marked(torch), lambda x: torch.from_numpy(x.copy())))
    for g, w in zip(*((x if isinstance(x, tuple) else (x,)) for x in (got, want)), strict=True):
        assert type(g) is torch.Tensor
        assert torch.equal(g, w)


@pytest.mark.parametrize("name", ARRAY_OPS)
def test_other_ops_take_them(torch: Any, name: str) -> None:
    op = ARRAY_OPS[name]
    case, dtype = next(iter(op.cases)), op.dtypes[0]

    def plain(x: Any) -> Any:
        return torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x

    got, want = (op.call(case, dtype, None, make) for make in (lambda x: marked(torch)(plain(x)), plain))
    got, want = (x if isinstance(x, tuple) else (x,) for x in (got, want))
    for g, w in zip(got, want, strict=True):
        if isinstance(g, np.ndarray):  # run lengths are NumPy's
            equal(g, w)
            continue
        with torch._C.DisableTorchFunctionSubclass():
            equal(comparable(g.as_subclass(torch.Tensor)), comparable(w))


def test_label_maps_and_counts(torch: Any) -> None:
    make = marked(torch)
    labels = torch.tensor([[0, 1, 2, 2]])
    matrix = segmentation.confusion_matrix(make(labels), make(labels), 3)
    assert type(matrix) is torch.Tensor
    assert segmentation.mean_iou(matrix) == 1
    assert segmentation.mean_iou(make(matrix), num_classes=3) == 1
    logits = torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()
    assert type(segmentation.confusion_matrix_from_logits(make(labels), make(logits))) is torch.Tensor
    metrics = segmentation.SegmentationMetrics(3).update(make(labels), make(labels)).update(make(logits), make(labels))
    assert metrics.compute()["mean_iou"] == 1


def test_detections(torch: Any) -> None:
    make = marked(torch)
    box, score, label = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0.9]), torch.tensor([2])
    prediction = {"boxes": make(box), "scores": make(score), "labels": make(label)}
    target = {"boxes": make(box), "labels": make(label), "iscrowd": make(torch.zeros(1, dtype=torch.int64))}
    for results in (
        detection.DetectionMetrics().update([prediction], [target]).compute(),
        detection.DetectionMetrics().update([prediction], [target]).best_f1(),
    ):
        assert {type(x) for x in results.values()} == {torch.Tensor}
    matches = detection.match_detections(make(box), make(score), make(box), labels=make(label), true_labels=make(label))
    assert [type(x) for x in matches] == [torch.Tensor] * 4
    assert matches.outcome.item() == 1
    outcome = make(matches.outcome[:, 0, 0])
    assert detection.average_precision(make(score), outcome, make(torch.tensor(1))) == pytest.approx(1)
    assert type(detection.precision_recall_curve(make(score), outcome, 1).recall) is torch.Tensor
    assert detection.count_naive(make(box), make(box)).tp == 1


def test_which_calls_go_through_the_dispatcher(torch: Any) -> None:
    """Those of ops with a gradient, whose results keep the class."""
    x = marked(torch)(torch.zeros(3))
    assert dispatch.registered("fastdet.pool.max_pool", x) is not None
    assert dispatch.registered("fastdet.boxes.overlap", x, grad=False) is None


def test_results_with_a_gradient_keep_the_class(torch: Any) -> None:
    make = marked(torch)
    x = make(torch.rand(1, 2, 4, 4))
    assert type(pool.max_pool2d(x, 2)[0]) is type(upsample.upsample_bilinear(x, (8, 8))) is type(x)
    loss = losses.cross_entropy(x.requires_grad_(), make(torch.zeros(1, 4, 4, dtype=torch.int64)))
    loss.backward()
    assert x.grad is not None


def test_a_function_of_the_caller_scores_soft_nms(torch: Any) -> None:
    data = sample("clustered", 20)
    make = marked(torch)
    keep, scores = nms.soft_nms(make(data.boxes), make(data.scores), method=lambda overlap: np.exp(-overlap))
    assert type(keep) is type(scores) is torch.Tensor


def test_a_subclass_that_replaces_the_dispatcher_is_refused(torch: Any) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode().from_tensor(torch.zeros(3, 4))
    with pytest.raises(TypeError, match=r"^match_detections: boxes must be a plain torch.Tensor, got FakeTensor$"):
        detection.match_detections(fake, torch.zeros(3), torch.zeros(3, 4))


# Boxes that state their format

BOX = {"xyxy": [[10.0, 20, 40, 60]], "xywh": [[10.0, 20, 30, 40]], "cxcywh": [[25.0, 40, 30, 40]]}


@pytest.mark.parametrize("stated", ["XYXY", "XYWH", "CXCYWH", Format.XYWH, Format.CXCYWH], ids=str)
def test_scores_are_those_of_the_stated_format(torch: Any, stated: Any) -> None:
    word = str(getattr(stated, "value", stated)).lower()
    box = bounding_boxes(torch, torch.tensor(BOX[word]), stated)
    true = torch.tensor(BOX["xyxy"])
    target = {"boxes": true, "labels": torch.tensor([0])}
    prediction = {"boxes": box, "scores": torch.tensor([0.9]), "labels": torch.tensor([0])}
    assert detection.DetectionMetrics().update([prediction], [target]).compute()["map"] > 0.999
    swapped = {"boxes": true, "scores": torch.tensor([0.9]), "labels": torch.tensor([0])}
    assert detection.DetectionMetrics().update([swapped], [{"boxes": box, "labels": [0]}]).compute()["map"] > 0.999
    assert detection.match_detections(box, torch.tensor([0.9]), true, iou_thresholds=0.99).outcome.item() == 1
    assert detection.match_detections(true, torch.tensor([0.9]), box, iou_thresholds=0.99).outcome.item() == 1
    if word != "xyxy":
        metrics = detection.DetectionMetrics(box_format=word).update([prediction], [{"boxes": box, "labels": [0]}])
        assert metrics.compute()["map"] > 0.999


def test_a_contradiction_is_refused(torch: Any) -> None:
    box = bounding_boxes(torch, torch.tensor(BOX["xyxy"]), "XYXY")
    prediction = {"boxes": box, "scores": [0.9], "labels": [0]}
    text = (
        r"^DetectionMetrics.update: predictions\[0\]\['boxes'\] must be of box_format 'xywh', "
        r"got BoundingBoxes of format xyxy; leave box_format out$"
    )
    with pytest.raises(ValueError, match=text):
        detection.DetectionMetrics(box_format="xywh").update([prediction], [prediction])
    rotated = bounding_boxes(torch, torch.zeros(1, 5), Format.XYWHR)
    with pytest.raises(
        ValueError, match=r"^match_detections: boxes must be xyxy, xywh or cxcywh, got .* of format xywhr"
    ):
        detection.match_detections(rotated, [0.9], [[0.0, 0, 1, 1]])


def test_ops_on_corners_refuse_other_formats(torch: Any) -> None:
    other = bounding_boxes(torch, torch.tensor(BOX["xywh"]), Format.XYWH)
    plain, score, label = torch.tensor(BOX["xyxy"]), torch.tensor([0.9]), torch.tensor([0])
    calls = {
        "nms": lambda b: nms.nms(b, score, 0.5),
        "batched_nms": lambda b: nms.batched_nms(b, score, label, 0.5),
        "soft_nms": lambda b: nms.soft_nms(b, score),
        "batched_soft_nms": lambda b: nms.batched_soft_nms(b, score, label),
        "multiclass_nms": lambda b: nms.multiclass_nms(b, score[:, None], 0.5),
        "merge_boxes": lambda b: fusion.merge_boxes(b, score, 0.5),
        "nmm": lambda b: fusion.nmm(b, score, 0.5),
        "greedy_nmm": lambda b: fusion.greedy_nmm(b, score, 0.5, idxs=label),
        "weighted_boxes_fusion": lambda b: fusion.weighted_boxes_fusion([b], [score], [label]),
        "box_area": boxes.box_area,
        "clip_boxes_to_image": lambda b: boxes.clip_boxes_to_image(b, (90, 90)),
        "remove_small_boxes": lambda b: boxes.remove_small_boxes(b, 1),
        "box_iou": lambda b: boxes.box_iou(plain, b),
        "generalized_box_iou": lambda b: boxes.generalized_box_iou(b, plain),
        "distance_box_iou": lambda b: boxes.distance_box_iou(b, plain),
        "complete_box_iou": lambda b: boxes.complete_box_iou(b, plain),
        "count_naive": lambda b: detection.count_naive(b, plain),
        "giou_loss": lambda b: losses.giou_loss(b, plain),
        "ciou_loss": lambda b: losses.ciou_loss(plain, b),
        "draw_boxes": lambda b: plots.draw_boxes(b, image=np.zeros((90, 90, 3), np.uint8)),
    }  # fmt: skip
    for op, call in calls.items():
        with pytest.raises(ValueError) as error:
            call(other)
        text = str(error.value)
        assert text.startswith(f"{op}: boxes"), text
        assert (
            "must be xyxy, got BoundingBoxes of format xywh; convert them: fastdet.boxes.box_convert(boxes, 'xywh'"
            in text
        )
    corners = bounding_boxes(torch, plain, "XYXY")
    assert nms.nms(corners, score, 0.5).tolist() == [0]
    assert boxes.box_iou(corners, boxes.box_convert(other, "xywh", "xyxy")).tolist() == [[1]]


def test_box_convert_starts_from_the_stated_format(torch: Any) -> None:
    other = bounding_boxes(torch, torch.tensor(BOX["xywh"]), Format.XYWH)
    assert boxes.box_convert(other, "xywh", "cxcywh").tolist() == BOX["cxcywh"]
    assert type(boxes.box_convert(other, "xywh", "cxcywh")) is torch.Tensor
    with pytest.raises(ValueError, match=r"^box_convert: boxes must be xyxy, got BoundingBoxes of format xywh"):
        boxes.box_convert(other, "xyxy", "cxcywh")
    with pytest.raises(ValueError, match=r"^box_convert: in_fmt must be "):
        boxes.box_convert(other, "yxyx", "cxcywh")


def test_a_format_of_another_kind_is_no_box_format(torch: Any) -> None:
    image = bounding_boxes(torch, torch.rand(1, 2, 4, 4), "NCHW")
    assert tuple(upsample.upsample_bilinear(image, (8, 8)).shape) == (1, 2, 8, 8)
