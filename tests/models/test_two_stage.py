"""Faster, Mask and Keypoint R-CNN and RetinaNet: their parts, training, weights of torchvision's files, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import DETECTORS, NARROW

from fastdet.masks import decode

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def made(torch: Any, models: Any, name: str, **options: Any) -> tuple[Any, Any]:
    """A narrow network and two images."""
    torch.manual_seed(0)
    network = models.MODELS[name](**{**DETECTORS[name], **NARROW, "score_threshold": 0.01, **options})
    return network, [torch.rand(3, 48, 64), torch.rand(3, 64, 40)]


def truth(torch: Any, sizes: Any = ((48, 64), (64, 40))) -> list[dict[str, Any]]:
    boxes = torch.tensor([[4.0, 5, 30, 40], [10, 8, 38, 44]])
    points = torch.tensor([[[10.0, 10, 2], [12, 30, 1], [29, 39, 2], [20, 20, 0]]]).repeat(2, 1, 1)
    return [
        {
            "boxes": boxes,
            "labels": torch.tensor([1, 1]),
            "masks": torch.ones(2, *size, dtype=torch.uint8),
            "keypoints": points,
        }
        for size in sizes
    ]


@pytest.mark.parametrize("name", DETECTORS)
def test_gradients_reach_every_parameter(torch: Any, models: Any, name: str) -> None:
    network, images = made(torch, models, name, norm="batch")
    losses = network.train()(images, truth(torch))
    keys = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    keys |= {"mask_rcnn": {"loss_mask"}, "keypoint_rcnn": {"loss_keypoint"}}.get(name, set())
    assert losses.keys() == ({"classification", "bbox_regression"} if name == "retinanet" else keys)
    sum(losses.values()).backward()
    for key, x in network.named_parameters():
        assert x.grad is not None, key
        assert x.grad.isfinite().all(), key


@pytest.mark.parametrize("name", DETECTORS)
def test_images_without_objects(torch: Any, models: Any, name: str) -> None:
    """All is background: the losses of boxes are 0, and the class scores are trained."""
    network, images = made(torch, models, name)
    empty = [{key: x[:0] for key, x in target.items()} for target in truth(torch)]
    losses = network.train()(images, empty)
    for key, loss in losses.items():
        assert loss.isfinite()
        assert (loss > 0) == (key in ("loss_objectness", "loss_classifier", "classification")), key
    sum(losses.values()).backward()


def test_training_lowers_the_losses(torch: Any, models: Any) -> None:
    network, images = made(torch, models, "faster_rcnn", norm="batch", rpn={"candidates": (100, 100)})
    step = torch.optim.Adam(network.train().parameters(), 2e-3)
    losses = []
    for _ in range(8):
        step.zero_grad()
        loss = sum(network(images, truth(torch)).values())
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_results_have_no_gradient(torch: Any, models: Any, name: str) -> None:
    network, images = made(torch, models, name)
    for found in network.eval()(images):
        assert len(found["boxes"])
        assert not any(x.requires_grad for x in found.values())


def test_samples_are_drawn_by_torch(torch: Any, models: Any) -> None:
    """One seed gives one loss, another seed another; a fourth of the samples may be positive."""
    network, images = made(torch, models, "faster_rcnn", samples=8, rpn={"samples": 8})
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(sum(network.train()(images, truth(torch)).values()).item())
    assert values[0] == values[1] != values[2]
    true = truth(torch)
    samples = network.roi_heads.sample([x["boxes"].repeat(20, 1) for x in true], true)
    for boxes, labels in zip(samples.boxes, samples.labels, strict=True):
        assert len(boxes) == len(labels) <= 8
        assert (labels > 0).sum() == 2


@pytest.mark.parametrize("trainable", range(6))
def test_frozen_parts(torch: Any, models: Any, trainable: int) -> None:
    """torchvision's choice: the first convolution and its normalisation, then stage by stage."""
    with torch.device("meta"):
        body = models.ResNetFPN(width=1 / 16, norm="batch", trainable=trainable).body
    parts = [name for name, part in body.named_children() if any(x.requires_grad for x in part.parameters())]
    order = ["layer4", "layer3", "layer2", "layer1", "conv1"][:trainable]
    assert set(parts) == {*order, *(["bn1"] if trainable == 5 else [])}


def test_frozen_normalisation(torch: Any, models: Any) -> None:
    norm, frozen = torch.nn.BatchNorm2d(5, eps=0.01), models.FrozenBatchNorm2d(5, eps=0.01)
    for x in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(x, 0.5, 1.5)
    frozen.load_state_dict(norm.state_dict(), strict=True)
    assert not list(frozen.parameters())
    x = torch.rand(2, 5, 3, 4)
    torch.testing.assert_close(frozen(x), norm.eval()(x))


OLD = {  # names in torchvision's published files, and those since
    "rpn.head.conv.weight": "rpn.head.conv.0.0.weight",
    "backbone.fpn.inner_blocks.2.bias": "backbone.fpn.inner_blocks.2.0.bias",
    "backbone.fpn.layer_blocks.0.weight": "backbone.fpn.layer_blocks.0.0.weight",
    "roi_heads.mask_head.mask_fcn1.weight": "roi_heads.mask_head.0.0.weight",
    "roi_heads.mask_head.mask_fcn4.bias": "roi_heads.mask_head.3.0.bias",
    "head.classification_head.conv.0.weight": "head.classification_head.conv.0.0.weight",
    "head.regression_head.conv.6.bias": "head.regression_head.conv.3.0.bias",
}


@pytest.mark.parametrize("name", ["mask_rcnn", "retinanet"])
def test_names_of_published_files(torch: Any, models: Any, name: str) -> None:
    network, _ = made(torch, models, name)
    weights = {key: torch.randn_like(x) for key, x in network.state_dict().items()}
    old = dict(weights)
    for past, now in OLD.items():
        if now in old:
            old[past] = old.pop(now)
    assert len(old.keys() - weights.keys()) >= 4
    network.load_state_dict(old, strict=True)
    for key, x in network.state_dict().items():
        assert torch.equal(x, weights[key]), key
    holder = torch.nn.ModuleDict({"inner": network})
    holder.load_state_dict({f"inner.{key}": 2 * x for key, x in old.items()}, strict=True)
    assert torch.equal(
        network.state_dict()["backbone.fpn.layer_blocks.0.0.weight"],
        2 * weights["backbone.fpn.layer_blocks.0.0.weight"],
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_images_of_other_kinds(torch: Any, models: Any, name: str) -> None:
    """A batch is a list of its images; an image of one channel has mean 0 and deviation 1."""
    network, _ = made(torch, models, name, in_channels=1)
    batch = torch.rand(2, 1, 48, 64)
    with torch.no_grad():
        for one, other in zip(network.eval()(batch), network([*batch]), strict=True):
            assert one.keys() == other.keys()
            for key, x in one.items():
                assert torch.equal(x, other[key])
    assert network.transform.mean == (0,)
    assert network.transform.std == (1,)


def test_masks_in_every_form(torch: Any, models: Any) -> None:
    found = {}
    for form in ("soft", "dense", "rle", "bits"):
        network, images = made(torch, models, "mask_rcnn", masks=form, max_output=20)
        with torch.no_grad():
            torch.nn.init.normal_(network.roi_heads.mask_predictor.mask_fcn_logits.weight)
            found[form] = network.eval()(images)
    for i, (height, width) in enumerate([(48, 64), (64, 40)]):
        soft, dense, rle, bits = (found[form][i]["masks"] for form in found)
        assert soft.shape == (20, 1, height, width)
        assert dense.shape == (20, height, width)
        assert dense.dtype == torch.bool
        assert 0.005 < dense.float().mean() < 0.995
        np.testing.assert_array_equal(np.packbits(dense.numpy(), axis=2, bitorder="little"), bits.numpy())
        np.testing.assert_array_equal(decode(rle), dense.numpy())
        same = (soft[:, 0] >= 0.5) == dense
        assert same.float().mean() > 0.9  # torchvision's rule moves borders by up to a pixel


def test_soft_masks_of_whole_pixels(torch: Any, models: Any) -> None:
    """A mask of 2 x 2 ones in a box of 4 x 4 pixels: the border of zeros reaches 2 pixels further on each side."""
    paste = models.mask_rcnn.paste_soft_masks
    pasted = paste(torch.ones(1, 2, 2), torch.tensor([[2.0, 2, 6, 6]]), (8, 8))
    want = torch.nn.functional.interpolate(
        torch.nn.functional.pad(torch.ones(1, 1, 2, 2), (1,) * 4), (9, 9), mode="bilinear"
    )
    torch.testing.assert_close(pasted, want[:, :, :8, :8])
    outside = paste(torch.ones(2, 2, 2), torch.tensor([[-9.0, -9, -6, -6], [20, 3, 24, 6]]), (8, 8))
    assert not outside.any()


def test_keypoints_at_maxima(torch: Any, models: Any) -> None:
    """A maximum is found at the centre of its pixel, wherever the box stands and however large it is."""
    part = models.keypoint_rcnn
    heatmaps = torch.zeros(3, 2, 56, 56)
    heatmaps[:, 0, 7, 14], heatmaps[:, 1, 55, 0] = 5, 4
    boxes = torch.tensor([[10.0, 20, 66, 76], [0, 0, 112, 28], [3, 4, 3.5, 4.2]])
    points, scores = part.maximum_keypoints(heatmaps, boxes)
    assert points[0].tolist() == [[24.5, 27.5, 1], [10.5, 75.5, 1]]
    np.testing.assert_allclose(points[1, 0], [29, 3.5, 1], atol=1)
    assert scores[0].tolist() == [5, 4]
    assert points[2].tolist() == [[3.5, 4.5, 1]] * 2  # the box counts as one pixel
    cells, use = part.keypoint_cells(torch.cat([points[:1], points[:1]]), boxes[[0, 0]], 56)
    assert cells[0].tolist() == [7 * 56 + 14, 55 * 56]
    assert use.all()
    corner = torch.tensor([[[66.0, 76, 2], [66, 76, 0]]])
    cells, use = part.keypoint_cells(corner, boxes[:1], 56)
    assert cells[0, 0] == 56 * 56 - 1
    assert use.tolist() == [[True, False]]
    assert not part.keypoint_cells(corner + 1, boxes[:1], 56)[1].any()


@pytest.mark.parametrize("name", ["faster_rcnn", pytest.param("retinanet", marks=pytest.mark.exhaustive)])
def test_the_trunk_is_exported_for_any_size(torch: Any, models: Any, name: str) -> None:
    trunk = made(torch, models, name)[0].eval().backbone
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(trunk, (torch.rand(2, 3, 160, 192),), dynamic_shapes=(sizes,)).module()
    with torch.no_grad():
        for shape in ((2, 3, 160, 192), (3, 3, 192, 160), (1, 3, 224, 160)):
            image = torch.rand(shape)
            for got, want in zip(program(image), trunk(image), strict=True):
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.exhaustive
def test_compile(torch: Any, models: Any) -> None:
    """What depends on values stays eager; the short form is the export of the trunk."""
    network, images = made(torch, models, "mask_rcnn")
    compiled = torch.compile(network.eval(), backend="aot_eager")
    with torch.no_grad():
        for got, want in zip(compiled(images), network(images), strict=True):
            assert got.keys() == want.keys()
            assert got["labels"].tolist() == want["labels"].tolist()
            for key in want:
                torch.testing.assert_close(got[key], want[key], rtol=1e-4, atol=1e-4)


ERRORS: list[tuple[Callable[[Any, Any], Any], type[Exception], str]] = [
    (lambda m, t: m.FasterRCNN(norm="group"), ValueError, "ResNetFPN: norm must be 'frozen' or 'batch', got 'group'"),
    (lambda m, t: m.FasterRCNN(trainable=6), ValueError, "ResNetFPN: trainable must be 0 to 5, got 6"),
    (lambda m, t: m.FasterRCNN(mean=[0.5]), ValueError,
     "FasterRCNN: mean must have 3 values as images have channels, got 1"),
    (lambda m, t: m.FasterRCNN(anchor_sizes=((8, 16), 32)), ValueError,
     "Anchors: sizes must have as many sides for each map, got ((8, 16), (32,))"),
    (lambda m, t: m.MaskRCNN(masks="polygons"), ValueError,
     "MaskRCNN: masks must be one of ('soft', 'dense', 'rle', 'bits'), got 'polygons'"),
    (lambda m, t: m.FasterRCNN(0), ValueError, "FasterRCNN: classes must be 1 or more, got 0"),
    (lambda m, t: m.RetinaNet(-1), ValueError, "RetinaNet: classes must be 1 or more, got -1"),
    (lambda m, t: m.FasterRCNN(1.5), TypeError, "FasterRCNN: classes must be an integer, got 1.5"),
    (lambda m, t: m.KeypointRCNN(min_size=(64, 0)), ValueError, "KeypointRCNN: min_size must be 1 or more, got 0"),
    (lambda m, t: m.FasterRCNN(max_size=0), ValueError, "FasterRCNN: max_size must be 1 or more, got 0"),
    (lambda m, t: m.FasterRCNN(samples=0), ValueError, "FasterRCNN: samples must be 1 or more, got 0"),
    (lambda m, t: m.RetinaNet(candidates=0), ValueError, "RetinaNet: candidates must be 1 or more, got 0"),
    (lambda m, t: m.RetinaNet(iou_threshold=2), ValueError, "RetinaNet: iou_threshold must be in [0, 1], got 2.0"),
    (lambda m, t: m.FasterRCNN(in_channels=0), ValueError, "FasterRCNN: in_channels must be 1 or more, got 0"),
    (lambda m, t: m.FasterRCNN(min_size=()), ValueError, "FasterRCNN: min_size must be one or more numbers, got none"),
    (lambda m, t: m.FasterRCNN(std=(1, 0, 1)), ValueError, "FasterRCNN: std must not be 0, got (1, 0, 1)"),
    (lambda m, t: m.FasterRCNN(anchor_ratios=()), ValueError, "Anchors: ratios must be one or more, got none"),
    (lambda m, t: m.FasterRCNN(rpn={"kept": 5}), ValueError, "RPN: kept must be (in training, in inference), got 5"),
    (lambda m, t: m.FasterRCNN(rpn={"candidates": (9, 0)}), ValueError, "RPN: candidates must be 1 or more, got 0"),
    (lambda m, t: m.KeypointRCNN(keypoints=0), ValueError, "KeypointRCNN: keypoints must be 1 or more, got 0"),
    (lambda m, t: m.FasterRCNN(score_threshold="x"), TypeError,
     "FasterRCNN: score_threshold must be a number, got 'x'"),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(ERRORS)))
def test_errors_of_options(torch: Any, models: Any, row: int) -> None:
    call, kind, text = ERRORS[row]
    with torch.device("meta"), pytest.raises(kind, match=re.escape(text)):
        call(models, torch)


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_errors_of_images_and_targets(torch: Any, models: Any, name: str) -> None:
    network, images = made(torch, models, name)
    title = type(network).__name__
    boxes, labels = torch.tensor([[1.0, 1, 5, 5]]), torch.tensor([1])
    good = {"boxes": boxes, "labels": labels}
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        ([], None, ValueError, "images must be one or more, got none"),
        (None, [good], TypeError, "images must be a list of tensors or one tensor (N, C, H, W), got NoneType"),
        ([images[0].double()], [good], TypeError,
         "images must be torch.float32 on cpu as the weights, got torch.float64 on cpu at index 0"),
        ([images[0].to("meta")], [good], TypeError,
         "images must be torch.float32 on cpu as the weights, got torch.float32 on meta at index 0"),
        (images[:1], good, TypeError, "targets must be a list of dictionaries, got dict"),
        (images[:1], [boxes], TypeError, "targets must be a list of dictionaries, got Tensor at index 0"),
        (images[:1], [{**good, "boxes": boxes.numpy()}], TypeError,
         "boxes of targets must be a tensor, got ndarray at index 0"),
        ([np.zeros((3, 8, 8))], [good], TypeError, "images must be tensors, got ndarray at index 0"),
        ([images[0].byte()], [good], TypeError,
         "images must be of a float dtype, of values in [0, 1], got torch.uint8"),
        ([images[0][:1]], [good], ValueError, "images must have shape (3, H, W), got (1, 48, 64) at index 0"),
        (images, None, ValueError, "targets must be given in training; or call eval() first"),
        (images, [good], ValueError, "targets must be of each of 2 images, got 1"),
        (images, [good, {"boxes": boxes}], ValueError, "targets must have labels, got ['boxes'] at index 1"),
        (images, [{**good, "boxes": boxes[0]}, good], ValueError,
         "boxes of targets must be float and (N, 4), got torch.float32 (4,) at index 0"),
        (images, [{**good, "labels": labels.int()}, good], ValueError,
         "labels of targets must be int64 and (1,), got torch.int32 (1,) at index 0"),
        (images, [good, {**good, "boxes": boxes[:, [2, 1, 0, 3]]}], ValueError,
         "boxes of targets must have x1 < x2 and y1 < y2, got [5.0, 1.0, 1.0, 5.0] at index 1"),
        (images, [{**good, "boxes": boxes * torch.nan}, good], ValueError,
         "boxes of targets must have x1 < x2 and y1 < y2, got [nan, nan, nan, nan] at index 0"),
        (images, [{**good, "labels": labels + 9}, good], ValueError,
         f"labels of targets must be in [{int(name != 'retinanet')}, {3 + (name != 'retinanet')}), got 10 at index 0"),
    ]  # fmt: skip
    for given, targets, kind, text in cases:
        network.train(given != [])
        with pytest.raises(kind, match=re.escape(f"{title}: {text}")):
            network(given, targets)
    for network, key, x, text in (
        (made(torch, models, "mask_rcnn")[0], "masks", torch.zeros(1, 48, 63), "(1, 48, 64), got (1, 48, 63)"),
        (made(torch, models, "keypoint_rcnn")[0], "keypoints", torch.zeros(1, 3, 3), "(1, 4, 3), got (1, 3, 3)"),
    ):
        with pytest.raises(ValueError, match=f"targets must have {key}, got "):
            network(images, [good] * 2)
        with pytest.raises(ValueError, match=re.escape(f"{key} of targets must have shape {text} at index 0")):
            network(images, [{**good, key: x}] * 2)
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):  # where layers convert dtypes by themselves
        assert len(network([images[0].bfloat16()])) == 1
    with pytest.raises(ValueError, match="scores must not hold NaN, got NaN on level 0"):
        network([images[0] * torch.nan])
    with pytest.raises(ValueError, match=re.escape("Anchors: sizes must be of each of 5 maps, got 2")):
        made(torch, models, name, anchor_sizes=(16, 32))[0].eval()(images)
