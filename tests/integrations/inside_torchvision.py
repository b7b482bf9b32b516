"""Checks inside torchvision: run by test_torchvision.py in a process of its own."""

from __future__ import annotations

import math
import os
import warnings
from itertools import product

import numpy as np
import pytest
import torch

from fastdet import integrations

MADE = integrations.torchvision()

import torchvision  # noqa: E402
from torchvision import ops  # noqa: E402

native = torch.ops.torchvision
DEFINED = MADE.mode.startswith("operators defined")
RNG = np.random.default_rng(0)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape)).to(dtype)


def boxes_of(count: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    corner = RNG.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + RNG.uniform(2, 40, (count, 2))], 1)
    return torch.from_numpy(boxes).to(dtype), torch.from_numpy(RNG.random(count)).to(dtype)


def nms_of_the_rule(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """torchvision's rule written down: NumPy scalars of the dtype, the ratio compared as a double."""
    b, zero = boxes.numpy(), boxes.numpy().dtype.type(0)
    order = scores.sort(descending=True, stable=True)[1].tolist()
    gone, keep = set(), []
    with np.errstate(all="ignore"):
        for place, i in enumerate(order):
            if i in gone:
                continue
            keep.append(i)
            for j in order[place + 1 :]:
                w, h = (
                    max(zero, min(b[i, 2 + k], b[j, 2 + k]) - max(b[i, k], b[j, k])) for k in (0, 1)
                )  # fmt: skip
                inter = w * h
                areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (b[i], b[j])]
                if float(inter / (areas[0] + areas[1] - inter)) > threshold:
                    gone.add(j)
    return keep


def test_the_mode_says_what_was_done() -> None:
    assert integrations.active() == [MADE]
    assert MADE.version == torchvision.__version__.partition("+")[0] or MADE.version == torchvision.__version__
    assert MADE.mode.startswith(("operators defined (", "kernels replaced (CPU)"))
    assert "torchvision::nms" in MADE.replaced
    assert ("torchvision::deform_conv2d" in MADE.replaced) == DEFINED
    assert torchvision.extension._has_ops()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["plain", "ties", "nan", "inf", "huge", "large", "inverted", "nan scores", "strided"])
def test_nms_is_the_rule_of_torchvision(dtype: torch.dtype, kind: str) -> None:
    for count in (1, 2, 17, 60):
        boxes, scores = boxes_of(count, dtype)
        if kind == "ties":
            boxes, scores = boxes.round().div(8).round() * 8, scores.mul(4).round() / 4
        if kind == "nan":
            boxes[torch.from_numpy(RNG.random(boxes.shape) < 0.1)] = math.nan
        if kind == "inf":
            boxes[torch.from_numpy(RNG.random(boxes.shape) < 0.1)] = math.inf
            boxes[torch.from_numpy(RNG.random(boxes.shape) < 0.1)] = -math.inf
        if kind in ("huge", "large"):  # areas, or sums of two areas, that overflow
            boxes *= (
                {"huge": 1e20, "large": 2.6e17}[kind]
                if dtype is torch.float32
                else {"huge": 1e160, "large": 2e152}[kind]
            )
        if kind == "inverted":
            boxes = boxes[:, torch.from_numpy(RNG.permutation(4))]
        if kind == "nan scores":
            scores[torch.from_numpy(RNG.random(count) < 0.3)] = math.nan
            scores[torch.from_numpy(RNG.random(count) < 0.2)] = math.inf
        if kind == "strided":
            boxes, scores = boxes.T.contiguous().T, scores.repeat_interleave(2)[::2]
        for threshold in (0.0, 0.3, 1 / 3, float(np.float32(0.3)), 0.5, 1.0, 2.0, -0.5, math.nan, math.inf):
            got = ops.nms(boxes, scores, threshold)
            assert got.dtype is torch.int64
            assert got.tolist() == nms_of_the_rule(boxes, scores, threshold), threshold


def test_nms_compares_with_a_double() -> None:
    boxes, scores = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 3.0]]), torch.tensor([0.9, 0.8])
    iou = float(np.float32(30) / np.float32(100))  # above 0.3 as a double
    assert iou > 0.3
    assert ops.nms(boxes, scores, 0.3).tolist() == [0]
    assert ops.nms(boxes, scores, iou).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.uint8])
def test_nms_refuses_the_dtypes_that_torchvision_refuses(dtype: torch.dtype) -> None:
    boxes, scores = torch.ones(2, 4).to(dtype), torch.ones(2).to(dtype)
    with pytest.raises(RuntimeError, match='"nms_kernel" not implemented for'):
        ops.nms(boxes, scores, 0.5)


def test_nms_refuses_wrong_shapes_in_torchvisions_words() -> None:
    boxes, scores = boxes_of(3)
    cases = {
        "boxes should be a 2d tensor, got 1D": (boxes[0], scores),
        "boxes should have 4 elements in dimension 1, got 3": (boxes[:, :3], scores),
        "scores should be a 1d tensor, got 2D": (boxes, scores[None]),
        "boxes and scores should have same number of elements in dimension 0, got 3 and 2": (boxes, scores[:2]),
        "dets should have the same type as scores": (boxes, scores.double()),
    }
    for text, arguments in cases.items():
        with pytest.raises(RuntimeError, match=text):
            ops.nms(*arguments, 0.5)


def test_nms_of_nothing_and_of_tensors_that_require_grad() -> None:
    assert ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    boxes, scores = boxes_of(20)
    want = ops.nms(boxes, scores, 0.5)
    got = ops.nms(boxes.clone().requires_grad_(), torch.nn.Parameter(scores), 0.5)
    assert got.tolist() == want.tolist()
    assert not got.requires_grad


def test_batched_nms_is_nms_of_each_class() -> None:
    for count in (30, 1500):  # one call with moved boxes; a call for each class
        boxes, scores = boxes_of(count)
        boxes = boxes.round()
        classes = torch.from_numpy(RNG.integers(0, 4, count))
        keep = [i for c in range(4) for i in torch.where(classes == c)[0][
            ops.nms(boxes[classes == c], scores[classes == c], 0.4)].tolist()]  # fmt: skip
        assert ops.batched_nms(boxes, scores, classes, 0.4).tolist() == sorted(keep, key=lambda i: -scores[i])


# Regions of interest: torchvision's rules, one number at a time


def sampled(plane: np.ndarray, y: float, x: float) -> float:
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    dy, dx = (0.0 if top == height - 1 else y - top), (0.0 if left == width - 1 else x - left)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    return float(
        (1 - dy) * ((1 - dx) * plane[top, left] + dx * plane[top, right])
        + dy * ((1 - dx) * plane[bottom, left] + dx * plane[bottom, right])
    )


def aligned_of_the_rule(x: np.ndarray, roi: np.ndarray, bins: tuple[int, int], scale: float, ratio: int,
                        aligned: bool, own: bool) -> np.ndarray:  # fmt: skip
    """One RoI of roi_align, or with ``own`` of ps_roi_align."""
    corners = roi[1:] * scale - (0.5 if aligned else 0)
    size = corners[2:] - corners[:2]
    size = size if aligned else np.maximum(size, 1)
    each = size / [bins[1], bins[0]]
    grid = [ratio if ratio > 0 else math.ceil(s) for s in each]
    channels = x.shape[1] // (bins[0] * bins[1]) if own else x.shape[1]
    out = np.zeros((channels, *bins))
    for c, p, q in product(range(channels), range(bins[0]), range(bins[1])):
        plane = x[int(roi[0]), (c * bins[0] + p) * bins[1] + q if own else c]
        values = [
            sampled(plane, corners[1] + p * each[1] + (i + 0.5) * each[1] / grid[1],
                    corners[0] + q * each[0] + (j + 0.5) * each[0] / grid[0])
            for i in range(grid[1]) for j in range(grid[0])
        ]  # fmt: skip
        count = grid[0] * grid[1]
        out[c, p, q] = sum(values) / (count or math.nan if own else max(count, 1))
    return out


def some_rois(count: int = 6) -> torch.Tensor:
    low = RNG.uniform(-3, 18, (count, 2))
    rois = np.concatenate([RNG.integers(0, 2, (count, 1)), low, low + RNG.uniform(0, 20, (count, 2))], 1)
    return torch.from_numpy(rois)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
def test_roi_align_and_ps_roi_align(layout: str) -> None:
    x = random(2, 12, 9, 11)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        x = random(2, 12, 18, 22)[:, :, ::2, ::2]
    for bins, scale, ratio, aligned in product([(2, 3), (1, 1)], [0.5, 1.0], [-1, 2], [False, True]):
        rois = some_rois()
        got = ops.roi_align(x, rois, bins, scale, ratio, aligned)
        want = [aligned_of_the_rule(x.numpy(), roi, bins, scale, ratio, aligned, False) for roi in rois.numpy()]
        assert got.is_contiguous()
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
        got = ops.ps_roi_align(x, rois, bins, scale, ratio)
        want = [aligned_of_the_rule(x.numpy(), roi, bins, scale, ratio, True, True) for roi in rois.numpy()]
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)


def test_a_roi_without_samples_is_not_a_number_in_ps_roi_align() -> None:
    rois = torch.tensor([[0, 1, 1, 1, 3], [0, 0, 0, 3, 3.0]])
    got, channels = native.ps_roi_align(torch.ones(1, 4, 5, 5), rois, 1.0, 2, 2, 0)
    assert got[0].isnan().all()
    assert (got[1] == 1).all()
    assert channels.dtype is torch.int32
    assert channels.flatten(1).tolist() == [[0, 1, 2, 3]] * 2


def test_roi_pool_passes_over_nan_and_begins_with_the_lowest_float32() -> None:
    x = torch.tensor([[[[math.nan, -math.inf], [math.nan, -5.0]]]])
    values, places = native.roi_pool(x, torch.tensor([[0, 0, 0, 1, 1.0]]), 1.0, 2, 2)
    lowest = float(np.finfo(np.float32).min)
    assert values.flatten().tolist() == [lowest, lowest, lowest, -5.0]
    assert places.dtype is torch.int32
    assert places.flatten().tolist() == [-1, -1, -1, 3]


def test_ps_roi_pool_and_its_gradient_at_the_border() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4).requires_grad_()
    rois = torch.tensor([[0, 0, 0, 4, 4.0]])
    y = ops.ps_roi_pool(x, rois, 1)
    assert y.item() == x[0, 0, :3, :3].mean().item()  # the last row and column are left out
    y.backward(torch.tensor([[[[16.0]]]]))
    assert (x.grad == 1).all()  # and are not in the gradient


@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_gradients(name: str) -> None:
    op = getattr(ops, name)
    x = random(2, 8, 7, 6).requires_grad_()
    rois = torch.tensor([[0, 0, 0, 3, 4], [1, 0.7, 0.3, 4.4, 4.6], [0, 1, 1, 3.5, 3.2]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: op(x, rois, 2), x, fast_mode=True)
    y = op(x, rois, 2)
    (grad,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=f"double backwards on {name} not supported"):
        grad.sum().backward()


def test_rois_that_name_no_image_raise() -> None:
    x = torch.ones(2, 4, 5, 5)
    for image in (2, -1, 1e9):
        for op in (ops.roi_align, ops.roi_pool, ops.ps_roi_align, ops.ps_roi_pool):
            with pytest.raises(ValueError, match="boxes"):
                op(x, torch.tensor([[image, 0, 0, 3, 3.0]]), 2)
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="boxes"):
            ops.roi_align(x, torch.tensor([[0, 0, number, 3, 3.0]]), 2)
    cut, whole = (ops.roi_align(x, torch.tensor([[i, 0, 0, 3, 3.0]]), 2) for i in (1.9, 1.0))
    assert torch.equal(cut, whole)  # an index is cut to an integer


def test_sizes_and_dtypes_of_results() -> None:
    x, rois = torch.rand(2, 4, 5, 5), torch.zeros(0, 5)
    for op in (ops.roi_align, ops.roi_pool):
        assert op(x, rois, (2, 3)).shape == (0, 4, 2, 3)
        assert op(x, torch.zeros(3, 5), (0, 3)).shape == (3, 4, 0, 3)
        assert op(x.half(), torch.zeros(3, 5).half(), 2).dtype is torch.float16
        with pytest.raises(RuntimeError, match="not implemented for 'BFloat16'"):
            op(x.bfloat16(), torch.zeros(3, 5).bfloat16(), 2)
    assert ops.ps_roi_align(x, rois, 2).shape == (0, 1, 2, 2)
    with pytest.raises(RuntimeError, match="should have the same type as rois"):
        ops.roi_align(x, torch.zeros(1, 5).double(), 2)
    with pytest.raises(RuntimeError, match="rois must have shape"):
        native.roi_align(x, torch.zeros(1, 4), 1.0, 2, 2, -1, False)
    with pytest.raises(RuntimeError, match="input channels must be a multiple"):
        ops.ps_roi_pool(x, torch.zeros(1, 5), 3)


@pytest.mark.filterwarnings("ignore:.*create_unbacked_symint.*:FutureWarning")
def test_compiled_and_exported() -> None:
    boxes, scores = boxes_of(40)

    def network(x: torch.Tensor, rois: torch.Tensor, boxes: torch.Tensor, scores: torch.Tensor) -> tuple:
        keep = ops.nms(boxes, scores, 0.5)
        return ops.roi_align(x, rois, 2) + ops.roi_pool(x, rois, 2), ops.ps_roi_align(x, rois, 2), keep * 2

    arguments = random(2, 4, 9, 9).float(), some_rois().float(), boxes, scores
    want = network(*arguments)
    for backend in ("eager", "aot_eager", "inductor"):
        got = torch.compile(network, fullgraph=True, backend=backend)(*arguments)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))

    class Module(torch.nn.Module):
        def forward(self, *arguments: torch.Tensor) -> tuple:
            return network(*arguments)

    program = torch.export.export(Module(), arguments)
    assert all(torch.equal(a, b) for a, b in zip(program.module()(*arguments), want, strict=True))
    x = arguments[0].clone().requires_grad_()
    torch.compile(lambda x: ops.roi_align(x, arguments[1], 2).square().sum(), backend="aot_eager")(x).backward()
    y = arguments[0].clone().requires_grad_()
    ops.roi_align(y, arguments[1], 2).square().sum().backward()
    assert torch.equal(x.grad, y.grad)


def test_meta_tensors_have_shapes() -> None:
    x, rois = torch.empty(2, 8, 5, 5, device="meta"), torch.empty(3, 5, device="meta")
    assert ops.roi_align(x, rois, (2, 3)).shape == (3, 8, 2, 3)
    assert ops.ps_roi_pool(x, rois, 2).shape == (3, 2, 2, 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_scripted() -> None:
    scripted = torch.jit.script(ops.nms)
    boxes, scores = boxes_of(20)
    assert torch.equal(scripted(boxes, scores, 0.4), ops.nms(boxes, scores, 0.4))


def test_autocast_computes_in_float32() -> None:
    boxes, scores = boxes_of(30)
    boxes, scores = boxes.bfloat16(), scores.bfloat16()
    x, rois = torch.rand(1, 3, 6, 6).bfloat16(), torch.tensor([[0, 0, 0, 4, 4.0]]).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        keep, pooled = ops.nms(boxes, scores, 0.4), ops.roi_align(x, rois, 2)
    assert torch.equal(keep, ops.nms(boxes.float(), scores.float(), 0.4))
    assert pooled.dtype is torch.bfloat16
    assert torch.equal(pooled, ops.roi_align(x.float(), rois.float(), 2).bfloat16())


# Deformable convolution


def convolved_of_the_rule(x, offset, weight, bias, stride, pad, dilation, mask):  # type: ignore[no-untyped-def]
    (n, c, h, w), (o, per_group, kh, kw), (oh, ow) = x.shape, weight.shape, offset.shape[2:]
    groups, offset_groups = c // per_group, offset.shape[1] // (2 * kh * kw)
    out = np.zeros((n, o, oh, ow))

    def pixel(plane, y, x):  # type: ignore[no-untyped-def]
        return plane[y, x] if 0 <= y < h and 0 <= x < w else 0.0

    for b, k, p, q, i, j, ci in product(*map(range, (n, o, oh, ow, kh, kw, per_group))):
        channel = k // (o // groups) * per_group + ci
        group, tap = channel // (c // offset_groups), i * kw + j
        y = p * stride[0] - pad[0] + i * dilation[0] + offset[b, (group * kh * kw + tap) * 2, p, q]
        z = q * stride[1] - pad[1] + j * dilation[1] + offset[b, (group * kh * kw + tap) * 2 + 1, p, q]
        if not (-1 < y < h and -1 < z < w):
            continue
        top, left = math.floor(y), math.floor(z)
        dy, dx, plane = y - top, z - left, x[b, channel]
        value = (1 - dy) * ((1 - dx) * pixel(plane, top, left) + dx * pixel(plane, top, left + 1)) + dy * (
            (1 - dx) * pixel(plane, top + 1, left) + dx * pixel(plane, top + 1, left + 1)
        )
        out[b, k, p, q] += weight[k, ci, i, j] * value * (1 if mask is None else mask[b, group * kh * kw + tap, p, q])
    return out + (0 if bias is None else bias[:, None, None])


@pytest.mark.parametrize("use_mask", [False, True])
@pytest.mark.parametrize(("groups", "offset_groups"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_deform_conv2d_is_the_naive_loop_and_differentiable(groups: int, offset_groups: int, use_mask: bool) -> None:
    stride, pad, dilation = (2, 1), (1, 0), (1, 2)
    x, weight = random(2, 6, 5, 6), random(4, 6 // groups, 3, 2)
    oh, ow = (5 + 2 - 3) // 2 + 1, 6 - 3 + 1
    offset = random(2, offset_groups * 12, oh, ow) * 2
    offset[0, :4] = torch.from_numpy(RNG.integers(-2, 3, (4, oh, ow)))  # points on pixels, and on the border
    mask, bias = (random(2, offset_groups * 6, oh, ow) if use_mask else None), random(4)
    got = ops.deform_conv2d(x, offset, weight, bias, stride, pad, dilation, mask)
    arrays = [None if t is None else t.numpy() for t in (x, offset, weight, bias)]
    want = convolved_of_the_rule(*arrays, stride, pad, dilation, None if mask is None else mask.numpy())
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-11, atol=1e-11)
    offset = random(2, offset_groups * 12, oh, ow) * 0.3 + 0.4  # no point on a pixel: there is no slope
    inputs = [t.clone().requires_grad_() for t in (x, offset, weight, bias, *([mask] if use_mask else []))]
    assert torch.autograd.gradcheck(
        lambda x, o, w, b, m=None: ops.deform_conv2d(x, o, w, b, stride, pad, dilation, m), inputs, fast_mode=True
    )


def test_deform_conv2d_refuses_wrong_shapes() -> None:
    x, weight = random(1, 4, 6, 6), random(2, 4, 3, 3)
    with pytest.raises(RuntimeError, match="offset output dims"):
        ops.deform_conv2d(x, random(1, 18, 5, 4), weight)
    with pytest.raises(RuntimeError, match="invalid batch size of offset"):
        ops.deform_conv2d(x, random(2, 18, 4, 4), weight)
    with pytest.raises(RuntimeError, match=r"mask.shape\[1\] is not valid"):
        ops.deform_conv2d(x, random(1, 18, 4, 4), weight, mask=random(1, 8, 4, 4))
    assert ops.deform_conv2d(x[:0], random(0, 18, 4, 4), weight).shape == (0, 2, 4, 4)


@pytest.mark.skipif(not DEFINED, reason="torchvision's binary has them")
@pytest.mark.filterwarnings("ignore")
def test_quantised_operators_say_their_name() -> None:
    boxes, scores = boxes_of(3)
    quantised = (torch.quantize_per_tensor(x, 0.5, 0, torch.quint8) for x in (boxes, scores))
    with pytest.raises(NotImplementedError, match=r"torchvision::q?nms: fastdet has no kernel"):
        ops.nms(*quantised, 0.5)
    with pytest.raises(NotImplementedError, match="torchvision::qnms: fastdet has no kernel"):
        native.qnms(boxes.byte(), scores.byte(), 0.5)


def test_rotated_boxes_overlap() -> None:
    if "cxcywhr" not in (ops.box_iou.__doc__ or ""):
        return  # an older release
    boxes = torch.tensor([[2, 2, 4, 4, 0], [2, 2, 4, 4, 90], [2, 2, 2, 2, 45.0]])
    got = ops.box_iou(boxes, boxes, fmt="cxcywhr")
    torch.testing.assert_close(got, torch.tensor([[1, 1, 0.25], [1, 1, 0.25], [0.25, 0.25, 1]]), atol=1e-5, rtol=1e-5)


# Networks


def test_ssd_detects() -> None:
    network = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    ).eval()
    with torch.no_grad():
        (found,) = network([torch.rand(3, 320, 320)])
    assert found["boxes"].shape[1] == 4
    assert len(found["boxes"]) == len(found["scores"]) > 0


@pytest.mark.parametrize("name", ["FasterRCNN", "MaskRCNN"])
def test_two_stage_networks_detect_and_train_a_step(name: str) -> None:
    torch.manual_seed(0)
    detection = torchvision.models.detection
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 8, 1), torch.nn.ReLU())
    backbone.out_channels = 8
    anchors = detection.rpn.AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),))
    network = getattr(detection, name)(
        backbone, num_classes=3, rpn_anchor_generator=anchors, min_size=64, max_size=96,
        box_roi_pool=ops.MultiScaleRoIAlign(["0"], 3, 2), box_score_thresh=0.0,
        **({"mask_roi_pool": ops.MultiScaleRoIAlign(["0"], 4, 2)} if name == "MaskRCNN" else {}),
    )  # fmt: skip
    targets = [{"boxes": torch.tensor([[4, 4, 40, 40], [20, 10, 60, 50.0]]), "labels": torch.tensor([1, 2]),
                "masks": torch.ones(2, 64, 64, dtype=torch.uint8)}]  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    losses = network([torch.rand(3, 64, 64)], targets)
    sum(losses.values()).backward()
    optimizer.step()
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    with torch.no_grad():
        (found,) = network.eval()([torch.rand(3, 64, 64)])
    assert len(found["boxes"]) == len(found["labels"]) > 0


def test_the_rest_of_torchvision_is_there() -> None:
    from torchvision import io, tv_tensors
    from torchvision.transforms import v2

    boxes = tv_tensors.BoundingBoxes([[1, 1, 5, 6]], format="XYXY", canvas_size=(8, 8))
    flipped = v2.RandomHorizontalFlip(1.0)(boxes)
    assert flipped.tolist() == [[3, 1, 7, 6]]
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    mask[0, 2:5, 1:4] = 1
    assert ops.masks_to_boxes(mask).tolist() == [[1, 2, 3, 4]]
    if DEFINED:  # the image operators are as far away as they were
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises((RuntimeError, AttributeError), match=r"image|decode_png"):
                io.decode_png(torch.zeros(4, dtype=torch.uint8))


def test_undo_and_again() -> None:
    """The last test of this file: the modules that the others hold lose their operators."""
    global MADE
    boxes, scores = boxes_of(20)
    want = ops.nms(boxes, scores, 0.4).tolist()
    assert integrations.torchvision() is MADE
    with pytest.raises(integrations.IntegrationError, match="already active"):
        integrations.torchvision(cuda=True)
    MADE.undo()
    MADE.undo()
    assert not integrations.active()
    if DEFINED:
        with pytest.raises(RuntimeError, match="operator torchvision::nms does not exist"):
            import torchvision.ops  # noqa: F401
    else:
        assert ops.nms(boxes, scores, 0.4).tolist() == want
    MADE = integrations.torchvision()
    import torchvision.ops as again

    assert again.nms(boxes, scores, 0.4).tolist() == want
    assert os.environ.get("FASTDET_TORCHVISION_MODE", MADE.mode.partition(" (")[0]) == MADE.mode.partition(" (")[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlaps_of_rotated_boxes_are_float32(dtype: torch.dtype) -> None:
    square = torch.tensor([[5, 5, 2, 2, 0], [5, 5, 2, 2, 45]], dtype=dtype)
    share = math.sqrt(0.5)  # an octagon over the area of both
    found, wanted = native.box_iou_rotated(square, square), torch.tensor([[1, share], [share, 1]])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)  # dtype, too
    assert native.box_iou_rotated(square[:0], square).shape == (0, 2)


def test_rotated_boxes_that_torchvision_refuses() -> None:
    one = torch.ones(1, 5)
    for first, second, text in (
        (one, one[:, :4], "boxes2 should have 5 elements in dimension 1, got 4"),
        (one, one.double(), "boxes1 and boxes2 must have the same dtype"),
        (one.half(), one.half(), "\"box_iou_rotated_cpu\" not implemented for 'Half'"),
    ):
        with pytest.raises(RuntimeError, match=text):
            native.box_iou_rotated(first, second)
