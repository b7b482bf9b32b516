"""Detectors of mmdet, built from the configs in its wheel: a step of training and a prediction, nothing compiled."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastdet import integrations

if True:  # before mmdet is imported
    integrations.pycocotools()
    integrations.mmcv()

import mmcv.ops  # noqa: F401
import mmdet
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

torch.set_num_threads(1)
CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
DETECTORS = {
    "faster": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "cascade": "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    "retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "ssd": "ssd/ssd300_coco.py",
    "yolox": "yolox/yolox_tiny_8xb8-300e_coco.py",
    "deformable": "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
}
SLOW = {"cascade", "deformable"}
HEADS = {"retinanet": "bbox_head.retina_cls", "ssd": "bbox_head.cls_convs", "yolox": "bbox_head.multi_level_conv_cls"}


def build(name: str) -> Any:
    register_all_modules()
    MessageHub.get_current_instance().update_info("iter", 0)  # YOLOX asks for it
    torch.manual_seed(0)
    model = Config.fromfile(CONFIGS / DETECTORS[name]).model
    model.backbone.pop("init_cfg", None)  # no weights from the network
    if "roi_head" in model:  # fewer boxes, the same code
        model.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=40)
        model.test_cfg.rpn.update(nms_pre=200, max_per_img=40)
        for stage in model.train_cfg.rcnn if name == "cascade" else [model.train_cfg.rcnn]:
            stage.sampler.num = 32
        model.test_cfg.rcnn.score_thr = 0.012  # random weights find 81 classes about equally probable
    else:
        model.test_cfg.score_thr = 0.0
        model.test_cfg.nms_pre = 100
    detector = MODELS.build(model)
    detector.init_weights()  # SSD's norm is uninitialised memory before
    if name == "ssd":
        detector.bbox_head.loss_cls = None  # mmdet 3.3.0 reads it in prediction and never sets it
    return detector


def images(detector: Any, name: str, training: bool) -> Any:
    size = 300 if name == "ssd" else 64
    generator = torch.Generator().manual_seed(1)
    pixels = [torch.rand(3, size, size, generator=generator) * 255 for _ in range(2)]
    found = []
    for _ in pixels:
        shape = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), (size, size))
        one = DetDataSample(metainfo={**shape, "scale_factor": (1.0, 1.0)})
        boxes = torch.tensor([[5.0, 5, 40, 50], [20, 10, 60, 30]])
        one.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1, 7]))
        masks = np.zeros((2, size, size), np.uint8)
        masks[0, 5:50, 5:40] = masks[1, 10:30, 20:60] = 1
        if name == "mask":
            one.gt_instances.masks = BitmapMasks(masks, size, size)
        one.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
        found.append(one)
    return detector.data_preprocessor({"inputs": pixels, "data_samples": found}, training)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOW else n for n in DETECTORS])
def test_detector(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started, detector = time.perf_counter(), build(name)
    optimizer = torch.optim.SGD(detector.parameters(), 1e-5)
    detector.train()
    losses = detector(**images(detector, name, True), mode="loss")
    loss, _ = detector.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    gradients = {key: p.grad for key, p in detector.named_parameters() if p.grad is not None}
    assert all(bool(torch.isfinite(g).all()) for g in gradients.values())
    head = HEADS.get(name, "roi_head.bbox_head")
    assert any(key.startswith(head) and bool(g.any()) for key, g in gradients.items())
    assert any(key.startswith("backbone") and bool(g.any()) for key, g in gradients.items())  # through the RoIs
    optimizer.step()

    detector.eval()
    modules = [sys.modules[f"mmcv.ops.{key}"] for key in ("nms", "roi_align")]
    ext: Any = sys.modules["mmcv._ext"]
    data = images(detector, name, False)
    calls = []

    def counted(own: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(own.__name__)
            return own(*arguments, **options)

        return call

    monkeypatch.setattr(modules[0], "ext_module", Spy(ext, counted))
    monkeypatch.setattr(modules[1], "ext_module", Spy(ext, counted))
    with torch.no_grad():
        results = detector(**data, mode="predict")
    assert "nms" in calls
    assert ("roi_align_forward" in calls) == (name not in HEADS)
    for one in results:
        found = one.pred_instances
        assert 0 < len(found) <= 200
        assert found.bboxes.shape == (len(found), 4)
        assert bool((found.scores[:-1] >= found.scores[1:]).all())
        assert name != "mask" or found.masks.shape == (len(found), 64, 64)

    monkeypatch.setattr(modules[0], "ext_module", Plain(ext))
    monkeypatch.setattr(modules[1], "ext_module", Plain(ext))
    with torch.no_grad():
        wanted = detector(**data, mode="predict")
    for one, other in zip(results, wanted, strict=True):
        assert torch.equal(one.pred_instances.labels, other.pred_instances.labels)
        torch.testing.assert_close(one.pred_instances.bboxes, other.pred_instances.bboxes, rtol=1e-4, atol=1e-3)
    print(f"{name}: {time.perf_counter() - started:.1f} s")


class Spy:
    """Counts the calls of ops."""

    def __init__(self, own: Any, wrap: Any) -> None:
        self._own, self._wrap = own, wrap

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self._own, name))


class Plain:
    """Other code for the same rules: NMS row by row, RoIAlign as a product of matrices in float64."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def nms(self, boxes: Any, scores: Any, iou_threshold: float, offset: int) -> Any:
        left, keep = np.argsort(-scores.numpy(), kind="stable"), []
        while len(left):
            best, left = left[0], left[1:]
            keep.append(int(best))
            iou = torch.zeros(1, len(left))
            self._own.bbox_overlaps(boxes[best : best + 1], boxes[left], iou, 0, False, offset)
            left = left[~(iou[0] > np.float32(iou_threshold)).numpy()]
        return torch.tensor(keep, dtype=torch.int64)

    def roi_align_forward(self, x: Any, rois: Any, out: Any, *unused: Any, **options: Any) -> None:
        shift = 0.5 if options["aligned"] else 0.0
        for n, roi in enumerate(rois.double().numpy()):
            x1, y1, x2, y2 = roi[1:] * options["spatial_scale"] - shift
            down = resampler(y1, y2 - y1, options["aligned_height"], x.shape[2], options["sampling_ratio"])
            across = resampler(x1, x2 - x1, options["aligned_width"], x.shape[3], options["sampling_ratio"])
            out[n] = torch.from_numpy(down) @ x[int(roi[0])].double() @ torch.from_numpy(across).T


def resampler(start: float, side: float, bins: int, size: int, ratio: int) -> Any:
    """(bins, size): the mean of the linear samples in each bin."""
    matrix, count = np.zeros((bins, size)), ratio if ratio > 0 else math.ceil(side / bins)
    for i, k in np.ndindex(bins, count):
        at = start + (i + (k + 0.5) / count) * side / bins
        if -1 <= at <= size:
            at = min(max(at, 0.0), size - 1.0)
            low = int(at)
            matrix[i, low] += (1 - at + low) / count
            matrix[i, min(low + 1, size - 1)] += (at - low) / count
    return matrix
