"""Networks as programs of torch: a trace and an export give the network's own result at any size."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from networks import SMALL, tensors

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
FIXED = ("ssd300", "yolov1", "yolov1_tiny")  # sizes of images
CASES: dict[str, tuple[dict[str, Any], tuple[int, int], list[tuple[int, int]]]] = {
    **dict.fromkeys(SMALL, ({}, (64, 64), [(96, 64), (45, 61), (33, 130)])),
    **{name: ({}, SMALL[name].shape[-2:], []) for name in FIXED},
    "overfeat_accurate": ({}, (245, 221), [(281, 245)]),
    "overfeat_fast": ({}, (231, 263), [(263, 300)]),
    "unet": ({}, (204, 188), [(188, 236)]),
    "unet padded": ({"padded": True}, (64, 64), [(96, 64), (45, 61)]),
    "unet transposed": ({"up": "transposed", "padded": True}, (45, 61), [(64, 96)]),
    "segnet nearest": ({"upsampling": "nearest"}, (64, 64), [(45, 61)]),
    "vgg16": ({}, (224, 224), [(64, 96), (230, 224)]),
    "vgg16 pooled": ({}, (64, 96), [(224, 224), (100, 64)]),
    "hrnet_v2 one pixel": ({}, (4, 4), [(64, 32)]),  # where all branches have a map of one pixel
}
TRACES_ONLY = ("hrnet_v2 one pixel",)  # an export takes a size of 1 for the size of all images, and refuses others


# Those that have no part of their own are for the exhaustive run.
LIKE_OTHERS = (
    *("fcn16s", "fcn32s", "hrnet_ocr", "overfeat_accurate", "yolov1_tiny", "unet transposed", "vgg16 pooled"),
    "deeplab_v3plus",
)
QUICK_EXPORTS = ("fcn8s", "segnet", "unet padded", "yolov1")


def cases(quick: Any, without: tuple[str, ...] = ()) -> list[Any]:
    chosen = [case for case in CASES if case not in without]
    return [case if quick(case) else pytest.param(case, marks=pytest.mark.exhaustive) for case in chosen]


def made(torch: Any, models: Any, case: str) -> tuple[Any, Any, list[Any]]:
    """A network, an image of one size, and images of others and in batches of another size."""
    name = case.split()[0]
    options, first, others = CASES[case]
    torch.manual_seed(0)
    network = models.MODELS[name](**SMALL[name].options, **options).eval()
    for module in network.modules():  # so that scores are not all 0
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight)
    channels = SMALL[name].shape[1]
    images = [torch.rand(3, channels, *first), *(torch.rand(2, channels, *size) for size in others)]
    return network, torch.rand(2, channels, *first), images


def check_equal(got: Any, want: Any) -> None:
    for g, w in zip(tensors(got), tensors(want), strict=True):
        assert g.shape == w.shape
        np.testing.assert_array_equal(g.detach().numpy(), w.detach().numpy())


@pytest.mark.parametrize("case", cases(lambda case: case not in LIKE_OTHERS))
def test_a_trace_takes_any_size(torch: Any, models: Any, case: str) -> None:
    network, image, images = made(torch, models, case)
    with torch.no_grad(), warnings.catch_warnings():
        if case == "segnet_basic":  # torch's local normalisation asks whether the image is empty
            warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean")
        traced = torch.jit.trace(network, (image,), check_trace=False)
        for x in (image, *images):
            check_equal(traced(x), network(x))


@pytest.mark.parametrize("case", cases(lambda case: case in QUICK_EXPORTS, TRACES_ONLY))
def test_an_export_takes_any_size(torch: Any, models: Any, case: str) -> None:
    network, image, images = made(torch, models, case)
    if "overfeat" in case:  # a map of more than one window
        image, images = torch.rand(2, 3, 281, 317), [torch.rand(1, 3, 300, 281)]
    name = case.split()[0]
    sizes = {0: torch.export.Dim.AUTO} | ({} if name in FIXED else {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO})
    with torch.no_grad():
        program = torch.export.export(network, (image,), dynamic_shapes=(sizes,)).module()
        for x in (image, *images):
            check_equal(program(x), network(x))


@pytest.mark.parametrize("name", SMALL)
def test_fx_traces_symbolically(torch: Any, models: Any, name: str) -> None:
    network, image, images = made(torch, models, name)
    graph = torch.fx.symbolic_trace(network, {"dense": False} if "overfeat" in name else None)
    with torch.no_grad():
        for x in (image, *images):
            check_equal(graph(x), network(x))
