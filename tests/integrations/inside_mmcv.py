"""The ops of the stand-in for `mmcv._ext`, without mmcv: against plain loops, and gradients by differences."""

from __future__ import annotations

from typing import Any

import mmcv_rules as rules
import numpy as np
import pytest
import torch
from torch import Tensor

from fastdet.integrations._mmcv_ext import OPS, stand_in

ext: Any = stand_in(None)
torch.set_num_threads(1)


def boxes_of(kind: str, n: int, rng: np.random.Generator) -> Tensor:
    low, sides = rng.uniform(0, 60, (n, 2)), rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([low, low + sides], 1).astype(np.float32)
    if kind == "whole":
        boxes = boxes.round()
    if kind == "inverted" and n:
        boxes[::4] = boxes[::4][:, [2, 3, 0, 1]]
        boxes[1::5, 2] = boxes[1::5, 0]
    if kind == "hostile" and n:
        boxes[::5, 1], boxes[1::7, 2], boxes[3::8] = np.nan, np.inf, 2e19
    if kind == "same" and n:
        boxes[:] = boxes[0]
    return torch.from_numpy(boxes)


def scores_of(kind: str, n: int, rng: np.random.Generator) -> Tensor:
    scores = rng.uniform(0, 1, n).astype(np.float32)
    if kind == "ties":
        scores = scores.round(1)
    if kind == "hostile":
        scores[::6] = np.nan
        scores[1::6] *= -1
    return torch.from_numpy(scores)


KINDS = ("plain", "whole", "inverted", "hostile", "same")
SCORES = ("plain", "ties", "hostile")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score_kind", SCORES)
@pytest.mark.parametrize("offset", [0, 1])
def test_nms(kind: str, score_kind: str, offset: int) -> None:
    rng = np.random.default_rng(1)
    for n in (0, 1, 40):
        boxes, scores = boxes_of(kind, n, rng), scores_of(score_kind, n, rng)
        for threshold in (-0.5, 0.0, 0.3, 0.7, 1.0, 1.5):
            keep = ext.nms(boxes, scores, iou_threshold=threshold, offset=offset)
            assert keep.dtype == torch.int64
            assert keep.tolist() == rules.nms(boxes.numpy(), scores.numpy(), threshold, offset)


def test_nms_at_the_threshold_and_of_other_layouts() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]], requires_grad=True)
    scores = torch.tensor([0.9, 0.8], requires_grad=True)
    assert ext.nms(boxes, scores, 0.5, 0).tolist() == [0, 1]
    assert ext.nms(boxes, scores, float(np.nextafter(np.float32(0.5), 0)), 0).tolist() == [0]
    columns = boxes.detach().t().contiguous().t()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert ext.nms(columns.to(dtype), scores.detach().to(dtype), 0.4, 0).tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score_kind", SCORES)
def test_nms_match(kind: str, score_kind: str) -> None:
    rng = np.random.default_rng(2)
    dets = torch.cat([boxes_of(kind, 40, rng), scores_of(score_kind, 40, rng)[:, None]], 1)
    for threshold in (0.0, 0.3, 0.7, 1.0):
        assert ext.nms_match(dets, iou_threshold=threshold) == rules.nms_match(dets.numpy(), threshold)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score_kind", SCORES)
@pytest.mark.parametrize("method", [0, 1, 2])
def test_softnms(kind: str, score_kind: str, method: int) -> None:
    rng = np.random.default_rng(3)
    for n in (0, 1, 24):
        boxes, scores = boxes_of(kind, n, rng), scores_of(score_kind, n, rng)
        for offset in (0, 1):
            for threshold in (-0.1, 0.0, 0.3) if method < 2 else (0.3,):
                for min_score in (0.0, 0.001, 0.4, 2.0):
                    dets = torch.full((n, 5), -7.0)
                    keep = ext.softnms(boxes, scores, dets, threshold, 0.5, min_score, method, offset)
                    want, new = rules.softnms(boxes.numpy(), scores.numpy(), threshold, 0.5, min_score, method, offset)
                    assert keep.tolist() == want
                    np.testing.assert_array_equal(dets[: len(keep), :4], boxes[keep])
                    bound = 5e-7 if method == 2 else 0  # the exponentials are rounded otherwise
                    np.testing.assert_allclose(dets[: len(keep), 4], np.array(new, np.float32), rtol=bound)
                    assert bool((dets[len(keep) :] == -7).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("aligned", [False, True])
def test_bbox_overlaps(kind: str, mode: int, aligned: bool) -> None:
    rng = np.random.default_rng(4)
    for kind_b in (kind, "plain"):
        a, b = boxes_of(kind, 12, rng), boxes_of(kind_b, 12, rng)
        for offset in (0, 1):
            ious = torch.full((12,) if aligned else (12, 12), -7.0)
            ext.bbox_overlaps(a, b, ious, mode=mode, aligned=aligned, offset=offset)
            for at in np.ndindex(*ious.shape):
                pair = a[at[0]].numpy(), b[at[-1]].numpy()
                want = rules.overlap(*pair, offset, bool(mode), 2.0**31)
                np.testing.assert_equal(ious[at].item(), np.nan if np.isnan(pair).any() else want)


def rotated_of(n: int, rng: np.random.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    parts = rng.uniform(0, 60, (n, 2)), rng.uniform(1, 30, (n, 2)), rng.uniform(-7, 7, (n, 1))
    boxes = torch.from_numpy(np.concatenate(parts, 1)).to(dtype)
    boxes[1::6] = boxes[0::6][: len(boxes[1::6])]
    boxes[2::9, 2] = 0
    boxes[3::9, 2:4] *= -1  # turned by half a turn: the same box
    boxes[4::9, 3] *= -1  # no box
    return boxes


def quadrilaterals(boxes: Tensor, bend: float) -> Tensor:
    found = np.array([rules.corners([*b[:2], *np.abs(b[2:4]), b[4]]) for b in boxes.double().numpy()])
    found[:, 2] += bend * (found[:, 1] - found[:, 0])  # no rectangle, convex
    return torch.from_numpy(found.reshape(-1, 8)).to(boxes.dtype)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("name", ["box_iou_rotated", "box_iou_quadri"])
def test_overlap_of_polygons(name: str, mode: int, aligned: bool) -> None:
    rng = np.random.default_rng(5)
    a, b = rotated_of(20, rng), rotated_of(20, rng)
    b[7] = a[7]
    if name == "box_iou_quadri":
        a, b = quadrilaterals(a, 0.3), quadrilaterals(b, 0.2)
        b[5] = b[5].reshape(4, 2).flip(0).flatten()
        shapes: Any = [[[tuple(p) for p in x.reshape(4, 2).tolist()] for x in y] for y in (a, b)]
    else:
        bad = [(y[:, 2] * y[:, 3] < 1e-14)[:, None] for y in (a, b)]
        shapes = [[rules.corners(x) for x in torch.where(m, 0, y)] for m, y in zip(bad, (a, b), strict=True)]
    ious = torch.full((20,) if aligned else (400,), -7.0)
    getattr(ext, name)(a, b, ious, mode_flag=mode, aligned=aligned)
    pairs = [(i, i) for i in range(20)] if aligned else list(np.ndindex(20, 20))
    want = [rules.polygon_iou(shapes[0][i], shapes[1][j], bool(mode)) for i, j in pairs]
    np.testing.assert_allclose(ious.numpy(), want, atol=2e-6)
    assert max(want) > 0.5


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("name", ["nms_rotated", "nms_quadri"])
def test_nms_of_polygons(name: str, labelled: bool) -> None:
    rng = np.random.default_rng(6)
    boxes, scores = rotated_of(40, rng), scores_of("ties", 40, rng)
    dets = boxes if name == "nms_rotated" else quadrilaterals(boxes, 0.2)
    flat = torch.zeros(1600)
    getattr(ext, name.replace("nms", "box_iou"))(dets, dets, flat, 0, False)
    ious, labels = flat.reshape(40, 40), torch.from_numpy(rng.integers(0, 3, 40)).float()
    dets = torch.cat([dets, labels[:, None]], 1) if labelled else dets
    order = scores.sort(descending=True)[1]
    for threshold in (-0.1, 0.0, 0.1, 0.5, 1.0, 1.5):

        def removes(i: int, j: int, threshold: float = threshold) -> bool:
            return bool(ious[i, j] >= np.float32(threshold))

        rest: Any = (labels, threshold, int(labelled)) if name == "nms_rotated" else (threshold, int(labelled))
        keep = getattr(ext, name)(dets, scores, order, dets[order], *rest)
        want = [g[0] for g in rules.groups(rules.by_score(scores.numpy()), removes)]
        assert keep.tolist() == want, threshold
    nothing = getattr(ext, name)(dets[:0], scores[:0], order[:0], dets[:0], *rest)
    assert nothing.dtype == torch.int64
    assert len(nothing) == 0


def rois_of(clockwise: bool | None, aligned: bool, rng: np.random.Generator, dtype: torch.dtype) -> Tensor:
    if clockwise is None:
        boxes = boxes_of("plain" if aligned else "inverted", 8, rng).numpy() / 6
        boxes[0], boxes[1] = (-9.125, -8.875, 4, 5), (3, 2.375, 30, 40.125)
        boxes[2, 2:] = boxes[2, :2]  # no size
    else:
        boxes = np.abs(rotated_of(8, rng).numpy()) / [6, 6, 6, 6, 1]
        boxes[0, :2], boxes[1, 2:4] = -1, 40
    boxes[:, :4] = np.round(boxes[:, :4] * 8) / 8  # exact in float32, scaled too: the same number of samples
    return torch.from_numpy(np.concatenate([rng.integers(0, 2, (8, 1)), boxes], 1)).to(dtype)


def roi_align(
    x: Tensor, rois: Tensor, scale: float, ratio: int, aligned: bool, clockwise: bool | None, mean: bool
) -> tuple[Tensor, Tensor, Tensor]:
    out, at_y, at_x = (torch.zeros(len(rois), x.shape[1], 3, 2, dtype=x.dtype) for _ in range(3))
    if clockwise is None:
        ext.roi_align_forward(x, rois, out, at_y, at_x, 3, 2, scale, ratio, int(mean), aligned)
    else:
        ext.roi_align_rotated_forward(x, rois, out, 3, 2, scale, ratio, aligned, clockwise)
    return out, at_y, at_x


def roi_align_gradient(grad: Tensor, rois: Tensor, at: Any, like: Tensor, *options: Any) -> Tensor:
    scale, ratio, aligned, clockwise, mean = options
    found = torch.zeros_like(like)
    if clockwise is None:
        ext.roi_align_backward(grad, rois, *at, found, 3, 2, scale, ratio, int(mean), aligned)
    else:
        ext.roi_align_rotated_backward(grad, rois, found, 3, 2, scale, ratio, aligned, clockwise)
    return found


@pytest.mark.parametrize(("clockwise", "mean"), [(None, False), (None, True), (False, True), (True, True)])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_and_its_gradient(clockwise: bool | None, aligned: bool, mean: bool, ratio: int) -> None:
    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.normal(0, 1, (2, 3, 9, 11)))
    rois = rois_of(clockwise, aligned, rng, torch.float64)
    for scale in (1.0, 0.5):
        options = scale, ratio, aligned, clockwise, mean
        out, *at = roi_align(x, rois, *options)
        want, places = rules.roi_align(x.numpy(), rois.numpy(), (3, 2), *options)
        np.testing.assert_allclose(out, want, atol=1e-9)
        if not mean:
            np.testing.assert_allclose(torch.stack(at), places, atol=1e-9)
        single = roi_align(x.float(), rois.float(), *options)[0]
        np.testing.assert_allclose(single, want, atol=2e-4)
        # out is linear in x (the mean), and near x (the maximum): the gradient is the transpose
        grad = torch.from_numpy(rng.normal(0, 1, out.shape))
        back = roi_align_gradient(grad, rois, at, x, *options)
        for _ in range(3):
            step = torch.from_numpy(rng.normal(0, 1e-6, x.shape))
            change = roi_align(x + step, rois, *options)[0] - out
            np.testing.assert_allclose((change * grad).sum(), (back * step).sum(), rtol=1e-6)


def test_roi_align_max_of_nothing() -> None:
    """No sample: mmcv's start of the maximum, and no gradient."""
    x, rois = torch.randn(1, 1, 4, 4), torch.tensor([[0.0, 1, 1, 1, 1]])
    out, *at = roi_align(x, rois, 1.0, 0, True, None, False)
    assert bool((out == -10000).all())
    assert bool((torch.stack(at) == -1).all())
    back = roi_align_gradient(torch.ones(1, 1, 3, 2), rois, at, x, 1.0, 0, True, None, False)
    assert not back.any()


@pytest.mark.parametrize("clockwise", [None, True])
def test_rois_that_mmcv_would_read_beyond_for(clockwise: bool | None) -> None:
    x = torch.randn(2, 1, 4, 4)
    sides = [3.0, 3.0] if clockwise is None else [2.0, 2.0, 0.0]
    for image in (-1.0, 2.0):
        with pytest.raises(ValueError, match="image"):
            roi_align(x, torch.tensor([[image, 1.0, 1.0, *sides]]), 1.0, 2, True, clockwise, True)
    sides = [0.0, 3.0] if clockwise is None else [-2.0, 2.0, 0.0]
    with pytest.raises(RuntimeError, match="sides of 0 or more, got"):
        roi_align(x, torch.tensor([[0.0, 1.0, 1.0, *sides]]), 1.0, 2, True, clockwise, True)
    assert roi_align(x, torch.zeros(0, 5 + (clockwise is not None)), 1.0, 2, True, clockwise, True)[0].shape == (
        0,
        1,
        3,
        2,
    )


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_roi_pool_and_its_gradient(scale: float) -> None:
    rng = np.random.default_rng(8)
    x = torch.from_numpy(rng.normal(0, 1, (2, 3, 9, 11)))
    rois = rois_of(None, False, rng, torch.float64)
    out, place = torch.full((8, 3, 3, 2), -7.0).double(), torch.full((8, 3, 3, 2), -7, dtype=torch.int32)
    ext.roi_pool_forward(x, rois, out, place, pooled_height=3, pooled_width=2, spatial_scale=scale)
    want, want_place = rules.roi_pool(x.numpy(), rois.numpy(), (3, 2), scale)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(place, want_place)
    assert (want_place == -1).any()
    assert (want_place >= 0).any()
    grad, found = torch.from_numpy(rng.normal(0, 1, out.shape)), torch.zeros_like(x)
    ext.roi_pool_backward(grad, rois, place, found, pooled_height=3, pooled_width=2, spatial_scale=scale)
    sums = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*want.shape):
        if (at := want_place[n, c, i, j]) >= 0:
            sums[int(rois[n, 0]), c, at // 11, at % 11] += grad[n, c, i, j]
    np.testing.assert_allclose(found, sums, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_sigmoid_focal_loss(weighted: bool, gamma: float) -> None:
    x = torch.randn(6, 4, dtype=torch.float64) * 4
    target = torch.tensor([0, 1, 3, 2, 2, 1] if weighted else [0, 4, -1, 2, 2, 1])
    weight = torch.rand(4, dtype=torch.float64) if weighted else x.new_empty(0)
    loss, grad = torch.zeros_like(x), torch.zeros_like(x)
    ext.sigmoid_focal_loss_forward(x, target, weight, loss, gamma=gamma, alpha=0.3)
    ext.sigmoid_focal_loss_backward(x, target, weight, grad, gamma=gamma, alpha=0.3)
    leaf = x.clone().requires_grad_()
    p, hit = leaf.sigmoid(), target[:, None] == torch.arange(4)
    of_hit = -torch.where(hit, 0.3 * (1 - p) ** gamma * p.log(), 0.7 * p**gamma * (1 - p).log())
    want = of_hit * (weight[target][:, None] if weighted else 1)
    np.testing.assert_allclose(loss, want.detach(), rtol=1e-10)
    np.testing.assert_allclose(grad, torch.autograd.grad(want.sum(), leaf)[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_softmax_focal_loss(weighted: bool, gamma: float) -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    target, weight = torch.tensor([0, 3, -1, 2, 2, 1]), torch.rand(4, dtype=torch.float64)
    weight = weight if weighted else x.new_empty(0)
    loss, buff, grad = torch.zeros(6).double(), torch.zeros(6).double(), torch.zeros_like(x)
    ext.softmax_focal_loss_forward(x.softmax(1), target, weight, loss, gamma=gamma, alpha=0.3)
    ext.softmax_focal_loss_backward(x.softmax(1), target, weight, buff, grad, gamma=gamma, alpha=0.3)
    leaf = x.clone().requires_grad_()
    p = leaf.softmax(1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    want = torch.where(target < 0, 0.0, -0.3 * (1 - p) ** gamma * p.log())
    want = want * weight[target.clamp(min=0)] if weighted else want
    np.testing.assert_allclose(loss, want.detach(), rtol=1e-10)
    np.testing.assert_allclose(grad, torch.autograd.grad(want.sum(), leaf)[0], rtol=1e-7, atol=1e-12)


def test_focal_losses_far_out_and_of_bad_targets() -> None:
    x, target, none = torch.tensor([[-200.0, 200.0]]), torch.tensor([0]), torch.empty(0)
    loss, grad = torch.zeros(1, 2), torch.zeros(1, 2)
    ext.sigmoid_focal_loss_forward(x, target, none, loss, 2.0, 0.25)
    ext.sigmoid_focal_loss_backward(x, target, none, grad, 2.0, 0.25)
    smallest = np.log(np.finfo(np.float32).tiny)  # mmcv's bound of the logarithm
    np.testing.assert_allclose(loss, [[-0.25 * smallest, -0.75 * smallest]], rtol=1e-6)
    np.testing.assert_allclose(grad, [[-0.25, 0.75]])
    with pytest.raises(ValueError, match="target must be at most 2, got 3"):
        ext.sigmoid_focal_loss_forward(x, torch.tensor([3]), none, loss, 2.0, 0.25)
    with pytest.raises(ValueError, match=r"target must be in \[0, 2\)"):
        ext.sigmoid_focal_loss_forward(x, torch.tensor([2]), torch.ones(2), loss, 2.0, 0.25)
    with pytest.raises(ValueError, match="target must be at most 1, got 2"):
        ext.softmax_focal_loss_forward(x, torch.tensor([2]), none, loss[0, :1], 2.0, 0.25)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("stride", "pad", "dilation"), [(1, 1, 1), (2, 0, 1), (1, 2, 2)])
def test_deformable_convolution(group: int, modulated: bool, stride: int, pad: int, dilation: int) -> None:
    rng = np.random.default_rng(9)
    sizes = [(n + 2 * pad - dilation - 1) // stride + 1 for n in (4, 5)]
    x, w, offset, mask, bias = (
        torch.from_numpy(rng.uniform(-1.5, 1.5, shape)).requires_grad_()
        for shape in ((2, 4, 4, 5), (4, 4 // group, 2, 2), (2, 16, *sizes), (2, 8, *sizes), (4,))
    )
    run = Modulated.apply if modulated else Deformable.apply
    inputs = (x, offset, mask, w, bias) if modulated else (x, offset, w)
    out = run(stride, pad, dilation, group, *inputs)
    arrays = [t.detach().numpy() for t in (x, w, offset, mask)]
    want = rules.deform_conv(*arrays[:3], arrays[3] if modulated else None, stride, pad, dilation, group, 2)
    want = want + bias.detach().numpy()[:, None, None] if modulated else want
    np.testing.assert_allclose(out.detach(), want, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *t: run(stride, pad, dilation, group, *t), inputs, fast_mode=True)


class Deformable(torch.autograd.Function):
    """As mmcv calls the ops."""

    @staticmethod
    def forward(
        ctx: Any, stride: int, pad: int, dilation: int, group: int, x: Tensor, offset: Tensor, w: Tensor
    ) -> Any:
        ctx.save_for_backward(x, offset, w)
        sizes = {"kW": 2, "kH": 2, "dW": stride, "dH": stride, "padW": pad, "padH": pad}
        ctx.options = {**sizes, "dilationW": dilation, "dilationH": dilation, "group": group, "deformable_group": 2}
        out, none = x.new_empty(len(x), len(w), *offset.shape[2:]), x.new_empty(0)
        ext.deform_conv_forward(x, w, offset, out, none, none, im2col_step=2, **ctx.options)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, offset, w = ctx.saved_tensors
        none, (dx, doffset, dw) = x.new_empty(0), (torch.zeros_like(t) for t in (x, offset, w))
        ext.deform_conv_backward_input(x, offset, grads[0], dx, doffset, w, none, im2col_step=2, **ctx.options)
        ext.deform_conv_backward_parameters(x, offset, grads[0], dw, none, none, scale=1, im2col_step=2, **ctx.options)
        return None, None, None, None, dx, doffset, dw


class Modulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stride: int, pad: int, dilation: int, group: int, *tensors: Tensor) -> Any:
        x, offset, mask, w, bias = tensors
        ctx.save_for_backward(*tensors)
        ctx.options = {"kernel_h": 2, "kernel_w": 2, "stride_h": stride, "stride_w": stride, "pad_h": pad}
        ctx.options |= {"pad_w": pad, "dilation_h": dilation, "dilation_w": dilation}
        ctx.options |= {"group": group, "deformable_group": 2, "with_bias": True}
        out, none = x.new_empty(len(x), len(w), *offset.shape[2:]), x.new_empty(0)
        ext.modulated_deform_conv_forward(x, w, bias, none, offset, mask, out, none, **ctx.options)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, offset, mask, w, bias = ctx.saved_tensors
        none, (dx, dw, dbias, doffset, dmask) = x.new_empty(0), map(torch.zeros_like, (x, w, bias, offset, mask))
        ext.modulated_deform_conv_backward(
            x, w, bias, none, offset, mask, none, dx, dw, dbias, doffset, dmask, grads[0], **ctx.options
        )
        return None, None, None, None, dx, doffset, dmask, dw, dbias


def test_masked_convolution() -> None:
    x, w, mask = torch.randn(1, 3, 6, 7), torch.randn(4, 3, 3, 3), torch.rand(6, 7) > 0.5
    y, xs = mask.nonzero(as_tuple=True)
    columns, out = torch.zeros(27, len(y)), torch.zeros(1, 4, 6, 7)
    ext.masked_im2col_forward(x, y, xs, columns, kernel_h=3, kernel_w=3, pad_h=1, pad_w=1)
    ext.masked_col2im_forward(w.reshape(4, -1) @ columns, y, xs, out, height=6, width=7, channels=4)
    want = torch.nn.functional.conv2d(x, w, padding=1) * mask
    torch.testing.assert_close(out, want)


def test_other_names_say_what_to_do() -> None:
    assert "fused_bias_leakyrelu" not in OPS
    with pytest.raises(NotImplementedError, match=r"mmcv\._ext\.fused_bias_leakyrelu: .*build mmcv"):
        ext.fused_bias_leakyrelu(torch.ones(1), slope=0.2)
    assert not hasattr(ext, "__path__")
    assert ext.get_compiling_cuda_version() == "not available"
    own = type(ext)(None)
    own.fused_bias_leakyrelu = len
    assert stand_in(own).fused_bias_leakyrelu is len
    assert stand_in(own).nms is OPS["nms"]
