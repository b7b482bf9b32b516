"""Ultralytics' own results, and those with fastdet inside: equal to the bit. Run by `test_ultralytics.py`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision  # noqa: F401 - Ultralytics takes its NMS where it is imported
from ultralytics.utils import nms, ops

import fastdet.integrations as inside

SHAPE = (640, 640)


PLACES = [(nms, "non_max_suppression"), (nms.TorchNMS, "nms"), (nms.TorchNMS, "fast_nms")]
PLACES += [(ops, name) for name in ("process_mask", "process_mask_native", "scale_masks")]


def functions() -> list[Any]:
    return [vars(owner)[name] for owner, name in PLACES]


OWN = functions()
_made = inside.ultralytics()
NEW = functions()
_made.undo()


def put(new: list[Any]) -> None:
    """What `ultralytics()` and `undo` do, without a look through all modules: that would be most of the time here."""
    for (owner, name), function in zip(PLACES, new, strict=True):
        setattr(owner, name, function)


def both(call: Callable[[], Any]) -> tuple[Any, Any]:
    """The result of Ultralytics itself, and of Ultralytics with fastdet inside: an error's type and text is one too."""

    def result() -> Any:
        try:
            return call()
        except Exception as error:
            return type(error), str(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = result()
        put(NEW)
        try:
            return own, result()
        finally:
            put(OWN)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if not isinstance(a, torch.Tensor):
        return bool(a == b)
    if (a.dtype, a.shape, a.device) != (b.dtype, b.shape, b.device):
        return False
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def check(call: Callable[[], Any]) -> Any:
    own, got = both(call)
    assert equal(own, got), (own, got)
    return own


def suppress(x: Any, *thresholds: float, **options: Any) -> Any:
    """All that `non_max_suppression` says, without its limit of time."""
    return nms.non_max_suppression(x, *thresholds, **{"return_idxs": True, "max_time_img": 1e3, **options})


def heads(
    images: int = 1, classes: int = 5, extras: int = 0, count: int = 400, high: int = 120, seed: int = 0
) -> torch.Tensor:
    """(images, 4 + classes + extras, count): boxes that overlap, and ``high`` scores above most thresholds."""
    made = torch.Generator().manual_seed(seed)

    def rand(*size: int) -> torch.Tensor:
        return torch.rand(size, generator=made)

    x = rand(images, 4 + classes + extras, count) * 0.05
    x[:, :2] = rand(images, 2, count) * 300
    x[:, 2:4] = rand(images, 2, count) * 120 + 2
    for image in x:
        at = torch.randperm(count, generator=made)[:high]
        image[4 + torch.randint(classes, (high,), generator=made), at] = rand(high) * 0.8 + 0.2
    x[:, 4 + classes :] = rand(images, extras, count) * 3
    return x


OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"conf_thres": 0.001, "iou_thres": 0.7, "multi_label": True},
    {"agnostic": True, "max_det": 7},
    {"classes": [0, 3, 99, -1]},
    {"classes": []},
    {"classes": 2, "multi_label": True, "conf_thres": 0.01},
    {"max_nms": 50, "conf_thres": 0.1},
    {"max_nms": 0},
    {"max_det": 0},
    {"max_det": -3},
    {"iou_thres": 0.0},
    {"iou_thres": 1.0, "conf_thres": 0},
    {"conf_thres": 1},
    {"max_wh": 0},
    {"max_wh": 100, "conf_thres": 0.02, "multi_label": True},
    {"conf_thres": 2},
    {"iou_thres": -0.5},
    {"max_time_img": -100.0},
)
KINDS: dict[str, dict[str, Any]] = {"detect": {}, "segment": {"extras": 32}, "pose": {"extras": 6, "classes": 1}}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_heads_with_every_option(kind: str, options: dict[str, Any]) -> None:
    x = heads(3, **KINDS[kind])
    call = {"nc": KINDS[kind].get("classes", 5), **options}
    check(lambda: suppress(x.clone(), **call))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_oriented_boxes_with_every_option(options: dict[str, Any]) -> None:
    x = heads(2, 4, 1, 600, 400)
    check(lambda: suppress(x, **{"nc": 4, "rotated": True, **options}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32])
@pytest.mark.parametrize("rotated", [False, True])
def test_dtypes_and_layouts(dtype: torch.dtype, rotated: bool) -> None:
    x = heads(2, 5, 1).to(dtype)
    for layout in (
        x,
        x.transpose(1, 2).contiguous().transpose(1, 2),
        x[:, :, ::2],
        x.repeat_interleave(2, 1)[:, ::2],
        x[:1].expand(3, -1, -1),
        [x, "loss"],
        (x,),
    ):
        for conf in (0.25, 0.3, 0.7):
            check(lambda x=layout, c=conf: suppress(x, c, nc=5, rotated=rotated))


@pytest.mark.parametrize("seed", range(60))
def test_random_heads(seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    classes, extras = (int(torch.randint(low, 9, (1,), generator=made)) for low in (1, 0))
    x = heads(2, classes, extras, 500, 300, seed)
    x[:, 4 : 4 + classes] = (x[:, 4 : 4 + classes] * 40).round() / 40  # ties
    x[:, :4] = (x[:, :4] * 2).round() / 2
    iou = float(torch.rand(1, generator=made))
    for flags in ({}, {"multi_label": True}, {"agnostic": True}, {"rotated": True}):
        check(lambda f=flags: suppress(x, 0.25, iou, nc=classes, **f))


def spoilt(value: float, channel: int) -> torch.Tensor:
    x = heads(2, 5, 1)
    best = int(x[0, 4:9].amax(0).argmax())
    x[0, channel, best] = value
    return x


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("channel", [0, 2, 4, 9])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -5.0, 1e20, 1e-30, 7.0, 0.0])
def test_values_that_no_head_gives(value: float, channel: int, rotated: bool) -> None:
    check(lambda: suppress(spoilt(value, channel), nc=5, rotated=rotated))


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6, 1e9])
def test_coordinates_beyond_the_offset_of_a_class(scale: float) -> None:
    x = heads(2, 5, 1)
    x[:, :4] *= scale
    for rotated in (False, True):
        check(lambda r=rotated: suppress(x, 0.1, nc=5, rotated=r))


def test_scores_at_the_threshold_and_boxes_at_the_threshold() -> None:
    x = heads(1, 3)
    x[:, 4:] = torch.tensor([0.25, 0.3, 0.1, 0.7])[torch.randint(4, (1, 3, 400))]
    x[:, :4] = torch.tensor([100.0, 100, 40, 40])[:, None]
    x[:, 0] += torch.arange(400) % 7 * 10  # IoU 0.6, 1 / 3, ...
    for conf in (0.25, 0.3, 0.1, 0.7):
        for iou in (0.6, 1 / 3, 1 / 7, 30 / 50, 20 / 60, 0.6000000238418579):
            for dtype in (torch.float32, torch.float64, torch.float16):
                check(lambda c=conf, i=iou, d=dtype: suppress(x.to(d), c, i))


def test_empty_and_odd_shapes() -> None:
    for x in (heads(1, 5, 0, 0, 0), heads(0, 5), heads(2, 5, 0, 300, 0), torch.zeros(1, 4, 10), torch.zeros(5, 10)):
        check(lambda x=x: suppress(x))
    for classes in (-1, 2, 5, 6, 99):
        check(lambda c=classes: suppress(heads(1, 5), nc=c))
        check(lambda c=classes: suppress(heads(1, 5), nc=c, rotated=True))


def test_more_boxes_than_max_nms() -> None:
    x = heads(1, 3, 0, 60_000, 40_000)
    x[:, 2:4] *= 0.05
    x[:, 4:] = (x[:, 4:] * 100).round() / 100
    assert int((x[:, 4:].amax(1) > 0.05).sum()) > 30_000
    check(lambda: suppress(x, 0.05))


def test_without_torchvision_it_is_the_rule_of_torch_nms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision")
    x = heads(2, 5)
    x[:, 4:] = (x[:, 4:] * 10).round() / 10
    x[0, 2, :200] = 0  # no area: that rule drops some of them
    for dtype in (torch.float32, torch.float64):
        check(lambda d=dtype: suppress(x.to(d)))


def test_end_to_end_heads() -> None:
    x = torch.rand(3, 300, 8)
    x[..., 5] = torch.randint(9, (3, 300)).float()
    x[0, 3, 4] = float("nan")
    for rows in (x, x[..., :6], x.half(), x[:, :0], x[:, ::3], x[..., :5], x.double()):
        for options in ({}, {"classes": [1, 4]}, {"max_det": 5}, {"classes": []}, {"max_det": 0}, {"classes": 3}):
            check(lambda x=rows, o=options: suppress(x, end2end=True, **o))


def test_the_input_is_not_changed() -> None:
    x, made = heads(1, 5), inside.ultralytics()
    before = x.clone()
    suppress(x)
    made.undo()
    assert torch.equal(x, before)


def test_what_falls_back_says_so_once() -> None:
    x, made = heads(1, 5).requires_grad_(), inside.ultralytics()
    try:
        with pytest.warns(inside.IntegrationWarning, match="tensors that require grad: the framework's own") as said:
            got = [nms.non_max_suppression(x)[0] for _ in range(2)]
        assert len(said) == 1
        assert got[0].requires_grad
    finally:
        made.undo()


def test_nms_of_torch() -> None:
    x = heads(1, 5, 0, 300, 300)[0]
    boxes, scores = ops.xywh2xyxy(x[:4].T), (x[4:].amax(0) * 20).round() / 20
    for b, s in (
        (boxes, scores),
        (boxes.double(), scores.double()),
        (boxes[:0], scores[:0]),
        (boxes[:, [2, 3, 0, 1]], scores),
        (boxes.half(), scores.half()),
        (boxes * float("nan"), scores),
        (boxes[:, [0, 1, 0, 3]], scores),
    ):
        for iou in (0.0, 0.3, 0.45, 1.0):
            check(lambda b=b, s=s, i=iou: nms.TorchNMS.nms(b, s, i))


@pytest.mark.parametrize("seed", range(40))
def test_fast_nms_of_oriented_boxes(seed: int) -> None:
    torch.manual_seed(seed)
    count = int(torch.randint(40, 900, (1,)))
    boxes = torch.cat([torch.rand(count, 2) * 400, torch.rand(count, 2).pow(3) * 200 + 0.1, torch.rand(count, 1)], 1)
    boxes[:, 4] *= 7
    boxes[:, :2] += torch.randint(3, (count, 1)) * 7680
    if seed % 4 == 1:
        boxes[:30, 2] = torch.tensor([0.0, 1e-4, 1e5, float("inf"), float("nan"), -3]).repeat(5)
    scores = (torch.rand(count) * 30).round() / 30
    for iou in (0.0, 1e-5, 0.05, 0.3, 0.45, 0.7, 0.99, 1.0):
        for b in (boxes, boxes.double()):
            s = scores.to(b.dtype)
            check(lambda b=b, s=s, i=iou: nms.TorchNMS.fast_nms(b, s, i, iou_func=nms.batch_probiou))
    check(lambda: nms.TorchNMS.fast_nms(boxes[:, :4], scores, 0.5))
    check(lambda: nms.TorchNMS.fast_nms(boxes, scores.clone(), 0.5, use_triu=False, iou_func=nms.batch_probiou))


def segments(count: int = 9, channels: int = 8, h: int = 40, w: int = 40, size: tuple[int, int] = (160, 160)) -> Any:
    centre = torch.rand(count, 2) * torch.tensor([size[1], size[0]])
    half = torch.rand(count, 2) * max(size) * 0.4
    return torch.randn(channels, h, w), torch.randn(count, channels), torch.cat([centre - half, centre + half], 1)


SIZES = (
    (160, 160),
    (640, 640),
    (320, 200),
    (213, 160),
    (1080, 810),
    (97, 331),
    (500, 640),
    (8, 8),
    (40, 40),
    (39, 300),
)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("shape", [(40, 40), (24, 40), (40, 17), (1, 40), (96, 160)], ids=str)
def test_masks(shape: tuple[int, int], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    given = segments(21, 8, *shape, size)
    for names in (
        lambda: ops.process_mask(*given, size, upsample=True),
        lambda: ops.process_mask(*given, size),
        lambda: ops.process_mask_native(*given, size),
    ):
        check(names)


def test_masks_whose_values_are_near_zero() -> None:
    """Small integers: many values are 0, or nearly so."""
    torch.manual_seed(1)
    protos, coefficients, boxes = segments(30, 4)
    coefficients, protos = coefficients.round() / 3, protos.round()
    for size in ((160, 160), (333, 500), (512, 700), (480, 640)):
        where = boxes * torch.tensor([size[1], size[0]] * 2) / 160
        check(lambda s=size, b=where: ops.process_mask(protos, coefficients, b, s, upsample=True))
        check(lambda s=size, b=where: ops.process_mask_native(protos, coefficients, b, s))


def test_masks_that_are_odd() -> None:
    torch.manual_seed(2)
    protos, coefficients, boxes = segments(size=(300, 400))
    nan, inf = float("nan"), float("inf")
    spoilt_boxes, spoilt_coefficients = boxes.clone(), coefficients.clone()
    spoilt_boxes[0], spoilt_boxes[1, 2] = nan, inf
    spoilt_coefficients[0, 0], spoilt_coefficients[1, 1] = nan, inf
    for given in (
        (protos, coefficients[:0], boxes[:0]),
        (protos, coefficients, spoilt_boxes),
        (protos, spoilt_coefficients, boxes),
        (protos.half(), coefficients, boxes),
        (protos.half(), coefficients.half(), boxes),
        (protos, coefficients, boxes.half()),
        (protos, coefficients, boxes.double()),
        (protos.double(), coefficients.double(), boxes),
        (protos.transpose(1, 2), coefficients, boxes),
        (protos, coefficients[:, :3], boxes),
        (protos, coefficients, boxes[:4]),
        (protos, coefficients * 0, boxes),
        (protos * 1e30, coefficients * 1e8, boxes),
        (protos, coefficients, boxes[:, [2, 3, 0, 1]]),
        (protos, coefficients, boxes + 1e9),
    ):
        check(lambda g=given: ops.process_mask(*g, (300, 400), upsample=True))
        check(lambda g=given: ops.process_mask(*g, (300, 400)))
        check(lambda g=given: ops.process_mask_native(*g, (300, 400)))


def test_masks_where_float64_is_torchs_default() -> None:
    """The dtypes of the arguments count, and nothing is left behind for later calls."""
    torch.manual_seed(5)
    given = (*(x.round() for x in segments(30, 4, 41, 57, (417, 391))), (417, 391))

    def masks(default: torch.dtype) -> Any:
        torch.set_default_dtype(default)
        try:
            return [ops.process_mask(*given, upsample=True), ops.process_mask(*given), ops.process_mask_native(*given)]
        finally:
            torch.set_default_dtype(torch.float32)

    for default in (torch.float64, torch.float32):
        assert isinstance(check(lambda d=default: masks(d)), list)


def test_many_masks() -> None:
    torch.manual_seed(3)
    given = segments(150, 4, 40, 40, (300, 321))
    check(lambda: ops.process_mask(*given, (320, 320), upsample=True))
    check(lambda: ops.process_mask_native(*given, (300, 321)))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_scale_masks_within_its_bound(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    for masks in (
        torch.randn(1, 7, 40, 60),
        torch.randn(1, 3, 40, 60).half(),
        torch.randn(2, 3, 96, 33),
        torch.rand(1, 5, 64, 64),
    ):
        for options in ({}, {"padding": False}, {"ratio_pad": ((0.3, 0.3), (2.0, 3.0))}):
            own, got = both(lambda m=masks, o=options: ops.scale_masks(m, size, **o))
            assert type(own) is type(got)
            if isinstance(own, tuple):
                assert own == got
                continue
            assert (own.shape, own.dtype) == (got.shape, got.dtype)
            bound = 2.0**-20 * sum(masks.shape[2:]) * float(masks.abs().max())
            assert float((own - got).abs().max()) <= bound


def test_scale_masks_that_stay_the_frameworks() -> None:
    torch.manual_seed(0)
    masks = torch.randn(1, 3, 40, 60)
    spoilt_masks = masks.clone()
    spoilt_masks[0, 0, 3, 3] = float("inf")
    for given in (masks.byte(), (masks > 0).byte(), spoilt_masks, masks[:, :0], masks[0]):
        check(lambda m=given: ops.scale_masks(m, (300, 400)))
    check(lambda: ops.scale_masks(masks, (300, 400), mode="nearest"))
    check(lambda: ops.scale_masks(masks, (40, 60)))
    check(lambda: ops.scale_masks(masks, (300, 400), ((0.131, 0.141), (0.3, 0.3)), padding=False))


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    made = torch.Generator().manual_seed(5)
    shapes = ((240, 320), (333, 200))
    return [torch.randint(256, (*shape, 3), generator=made, dtype=torch.uint8).numpy() for shape in shapes]


def test_the_integration_is_taken_back() -> None:
    assert functions() == OWN
    assert all(a is not b for a, b in zip(OWN, NEW, strict=True))
    made = inside.ultralytics()
    assert inside.ultralytics() is made
    assert len(made.replaced) == len(PLACES)
    assert all(a is not b for a, b in zip(OWN, functions(), strict=True))
    made.undo()
    made.undo()
    assert functions() == OWN


def network(name: str) -> Any:
    """A network with random weights, whose scores are not all low."""
    from ultralytics import YOLO

    torch.manual_seed(0)
    model = YOLO(name)
    for key, parameter in model.model.named_parameters():
        if "cv3." in key and key.endswith(".2.bias"):  # of the scores of each level
            parameter.data = torch.rand(parameter.shape) - 2
            parameter.data[[0, -1]] = 1.5
    return model


MODELS = ("yolo11n.yaml", "yolov8n-seg.yaml", "yolo11n-pose.yaml", "yolo11n-obb.yaml", "yolo26n.yaml")
SEGMENT = {"retina_masks": True, "max_det": 20}


@pytest.mark.parametrize("name", MODELS)
def test_predictions(name: str, pictures: list[Any]) -> None:
    model = network(name)
    for options in ({}, {"agnostic_nms": True, "max_det": 20}, {"classes": [0, 79]}, SEGMENT):

        def call(options: dict[str, Any] = options) -> Any:
            found = model.predict(pictures, imgsz=160, conf=0.4, iou=0.5, verbose=False, device="cpu", **options)
            parts = ("boxes", "obb", "masks", "keypoints")
            return [getattr(x, part).data for x in found for part in parts if getattr(x, part) is not None]

        found = check(call)
        assert sum(map(len, found))
        assert not isinstance(found, tuple)


@pytest.mark.parametrize("name", MODELS)
def test_validation(name: str, pictures: list[Any], tmp_path: Path) -> None:
    """`val` of a small data set: the same figures."""
    from PIL import Image

    classes = {"pose": 1, "obb": 15}.get(name.split("-")[-1].split(".")[0], 80)
    row = {"seg": ".2 .2 .6 .2 .6 .7 .2 .7", "obb": ".2 .2 .6 .2 .6 .7 .2 .7", "pose": ".4 .4 .3 .3 " + ".4 .4 2 " * 17}
    label = row.get(name.split("-")[-1].split(".")[0], ".4 .4 .3 .3")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_text(f"0 {label}\n")
    names = "\n".join(f"  {i}: c{i}" for i in range(classes))
    data = tmp_path / "data.yaml"
    more = "kpt_shape: [17, 3]\n" if "pose" in name else ""
    data.write_text(f"path: {tmp_path}\ntrain: images\nval: images\n{more}names:\n{names}\n")
    model = network(name)

    def call() -> Any:
        found = model.val(
            data=str(data),
            imgsz=160,
            batch=2,
            conf=0.5,
            device="cpu",
            workers=0,
            plots=False,
            verbose=False,
            cache=False,
        )
        return sorted(found.results_dict.items())

    found = check(call)
    assert isinstance(found, list)
