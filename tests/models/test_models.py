"""Networks: their parameters and shapes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from networks import DETECTORS, SMALL, tensors
from optional import real_facts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised while torch is imported


# Numbers of parameters; those without another source are counted by hand from the paper's tables.
COUNTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "vgg16": ("vgg16", {}, 138_357_544),  # torchvision's, as the next one's
    "vgg16 norm": ("vgg16", {"norm": True}, 138_365_992),
    "fcn32s": ("fcn32s", {}, 136_152_917),  # the authors' prototxts
    "fcn16s": ("fcn16s", {}, 134_815_994),
    "fcn8s": ("fcn8s", {}, 134_489_759),
    "segnet": ("segnet", {}, 29_449_355),  # the authors' prototxts
    "segnet_basic": ("segnet_basic", {}, 1_416_587),
    "unet": ("unet", {}, 31_030_658),
    "unet transposed": ("unet", {"up": "transposed", "classes": 1}, 31_030_593),
    "unet colour": ("unet", {"in_channels": 3, "classes": 21}, 31_033_045),
    "unet norm": ("unet", {"in_channels": 3, "norm": True, "padded": True}, 31_037_698),  # milesial/Pytorch-UNet
    "deeplab_largefov": ("deeplab_largefov", {}, 20_505_429),
    "deeplab 7x7": ("deeplab_largefov", {"kernel": 7, "rate": 4, "features": 4096}, 134_346_581),
    "deeplab 4x4": ("deeplab_largefov", {"kernel": 4, "rate": 8, "features": 4096}, 65_140_565),
    "deeplab_v3": ("deeplab_v3", {}, 39_638_869),  # torchvision's deeplabv3_resnet50 without its auxiliary head
    "overfeat_fast": ("overfeat_fast", {}, 145_920_872),  # the classifier's
    "overfeat_accurate": ("overfeat_accurate", {}, 144_656_488),
    "yolov1": ("yolov1", {"local": True, "predictors": 3}, 197_328_243),  # floats of darknet's file: with running means
    "yolov1_tiny": ("yolov1_tiny", {}, 27_099_950),
    "ssd300": ("ssd300", {}, 26_285_486),
    "ssd300 coco": ("ssd300", {"classes": 90}, 35_641_826),  # torchvision's ssd300_vgg16
    "faster_rcnn": ("faster_rcnn", {}, 41_755_286),  # torchvision's published weights, as the next ones
    "mask_rcnn": ("mask_rcnn", {}, 44_401_393),
    "keypoint_rcnn": ("keypoint_rcnn", {}, 59_137_258),
    "retinanet": ("retinanet", {}, 34_014_999),
}


def facts(name: str) -> Any:
    return json.loads(real_facts(name).read_text())


def shapes(torch: Any, network: Any, *image: int) -> list[tuple[str, tuple[int, ...]]]:
    """The output shapes of all convolutions, pools and unpoolings of a network on the meta device, in their order."""
    from torch.utils._python_dispatch import TorchDispatchMode

    kinds = {"convolution": "convolution", "max_pool2d": "pool", "max_pool2d_values": "pool", "max_unpool2d": "unpool"}
    outputs = []

    class Record(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            kind = func._schema.name.partition("::")[2]
            if kind in kinds:
                outputs.append((kinds[kind], tuple(tensors(out)[0].shape[1:])))
            return out

    with torch.no_grad(), Record():
        network.eval()(torch.empty(1, *image, device="meta"))
    return outputs


def test_models(models: Any) -> None:
    assert models.MODELS.keys() == SMALL.keys() | DETECTORS.keys()
    for cls in models.MODELS.values():
        assert getattr(models, cls.__name__) is cls
        assert cls.__name__ in models.__all__


def test_only_models_import_torch(torch: Any, python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    python("""
import sys, fastdet
from fastdet import *
assert "models" in dir(fastdet) and "torch" not in sys.modules
fastdet.models.MODELS["fcn8s"]
assert "torch" in sys.modules
""")


# Parameters and shapes


@pytest.mark.parametrize("case", COUNTS)
def test_parameters(torch: Any, models: Any, case: str) -> None:
    name, options, want = COUNTS[case]
    with torch.device("meta"):
        network = models.MODELS[name](**options)
    if name.startswith("overfeat"):
        network.regressor = torch.nn.Identity()
    count = sum(x.numel() for x in network.parameters())
    if name.startswith("yolo"):
        count += sum(x.numel() for key, x in network.named_buffers() if "running" in key)
    assert count == want


def test_counts_equal_the_file_of_facts() -> None:
    """The counts above that the file of facts has too."""
    known = facts("facts.json")
    fcn, segnet, unet, deeplab = (known[name] for name in ("fcn", "segnet", "unet", "deeplab_vgg16"))
    yolo, overfeat = known["yolo"], known["overfeat"]
    want = {
        **fcn["params_total_21_classes"],
        "segnet": segnet["params_prototxt_11_classes"]["segnet"],
        "segnet_basic": segnet["params_prototxt_11_classes"]["segnet_basic"],
        "unet": unet["params_1ch_2cls"],
        "unet transposed": unet["params_1ch_1cls"],
        "unet colour": unet["params_3ch_21cls"],
        "unet norm": unet["milesial_bn_3ch_2cls"],
        "deeplab_largefov": deeplab["largeFOV_3x3_r12_1024"],
        "deeplab 7x7": deeplab["7x7_4096"],
        "deeplab 4x4": deeplab["4x4_4096"],
        "overfeat_fast": overfeat["fast"]["params"],
        "overfeat_accurate": overfeat["accurate"]["params"],
        "yolov1": yolo["yolov1.cfg"]["floats"],
        "yolov1_tiny": yolo["yolov1-tiny.cfg"]["floats"],
    }
    assert {case: COUNTS[case][2] for case in want} == want


@pytest.mark.parametrize(("layers", "want"), [(50, 25_557_032), (101, 44_549_160)])
def test_resnet_parameters(torch: Any, models: Any, layers: int, want: int) -> None:
    with torch.device("meta"):
        trunk = models.resnet.ResNet(layers)
    assert sum(x.numel() for x in trunk.parameters()) + 2048 * 1000 + 1000 == want


@pytest.mark.parametrize(("name", "millions"), [("hrnet_v2", 65.9), ("hrnet_ocr", 70.4)])
def test_hrnet_parameters(torch: Any, models: Any, name: str, millions: float) -> None:
    """The papers give one decimal."""
    with torch.device("meta"):
        network = models.MODELS[name]()
    assert round(sum(x.numel() for x in network.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("size", [(500, 500), (375, 500)])
@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_fcn_shapes(torch: Any, models: Any, name: str, size: tuple[int, int]) -> None:
    """Every convolution and pool against the authors' prototxt."""
    layers = facts("caffe_shapes.json")[f"voc-{name}@{size[0]}x{size[1]}"]["layers"]
    kinds = {"convolution": "convolution", "deconvolution": "convolution", "pooling": "pool"}
    want = [(kinds[kind], tuple(out)) for _, kind, _, out in layers if kind in kinds]
    with torch.device("meta"):
        network = models.MODELS[name]()
    got = shapes(torch, network, 3, *size)
    assert sorted(got) == sorted(want)  # sorted: FCN-8s may score pool3 before or after it upsamples
    assert got[: len(got) - 5] == want[: len(want) - 5]


def test_fcn_shapes_of_the_paper(torch: Any, models: Any) -> None:
    """Images of 224 pixels give the lecture's numbers, with pools that round down; of 500, the prototxt's."""
    with torch.device("meta"):
        network, down = models.FCN32s(), models.FCN32s(ceil_mode=False)
    got = shapes(torch, down, 3, 224, 224)
    assert [shape for kind, shape in got if kind == "pool"][-1] == (512, 13, 13)
    assert [shape for kind, shape in got][-4:] == [(4096, 7, 7), (4096, 7, 7), (21, 7, 7), (21, 256, 256)]
    with pytest.raises(ValueError, match=r"FCN32s: image must have a size with scores for all of it, got \(500, 500\)"):
        shapes(torch, down, 3, 500, 500)
    got = shapes(torch, network, 3, 500, 500)
    assert [shape[1] for kind, shape in got if kind == "pool"] == [349, 175, 88, 44, 22]
    assert (got[0][1][1], got[-1][1][1]) == (698, 544)


def test_segnet_shapes(torch: Any, models: Any) -> None:
    layers = facts("caffe_shapes.json")["segnet_train@360x480"]["layers"]
    kinds = {"convolution": "convolution", "pooling": "pool", "upsample": "unpool"}
    want = [(kinds[kind], tuple(out)) for _, kind, _, out in layers if kind in kinds]
    with torch.device("meta"):
        network = models.SegNet()
    assert shapes(torch, network, 3, 360, 480) == want


def test_segnet_basic_shapes(torch: Any, models: Any) -> None:
    """The authors' prototxt has pad_out_h where the pool has rounded up: 45 rows come back as 45, not as 46."""
    with torch.device("meta"):
        network = models.SegNetBasic()
    sizes = [(360, 480), (180, 240), (90, 120), (45, 60)]
    want = []
    for i, size in enumerate(sizes):
        want += [("convolution", (64, *size)), ("pool", (64, *[(23, 30), (45, 60), (90, 120), (180, 240)][3 - i]))]
    for size in sizes[::-1]:
        want += [("unpool", (64, *size)), ("convolution", (64, *size))]
    assert shapes(torch, network, 3, 360, 480) == [*want, ("convolution", (11, 360, 480))]


def test_unet_shapes(torch: Any, models: Any) -> None:
    with torch.device("meta"):
        network = models.UNet()
    got = [shape for kind, shape in shapes(torch, network, 1, 572, 572) if kind == "convolution"]
    assert [shape[1] for shape in got[1:10:2]] == [568, 280, 136, 64, 28]
    assert [shape[1] for shape in got[10:22:3]] == [56, 104, 200, 392]
    assert [shape[1] for shape in got[12:22:3]] == [52, 100, 196, 388]
    assert got[-1] == (2, 388, 388)
    assert network.margin == 92
    assert (network.fitting(388), network.fitting(389), network.fitting(1)) == (572, 588, 188)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_unet_fitting(torch: Any, models: Any, depth: int) -> None:
    """`fitting` gives the smallest valid size whose output is large enough."""
    with torch.device("meta"):
        network = models.UNet(depth=depth, width=1 / 64)
    for size in (1, 4, 5, 30, 31):
        side = network.fitting(size)
        out = network(torch.empty(1, 1, side, side, device="meta")).shape[-1]
        assert out == side - 2 * network.margin >= size
        assert out - 2**depth < max(size, 4)


def test_deeplab_shapes(torch: Any, models: Any) -> None:
    with torch.device("meta"):
        largest = models.DeepLabLargeFOV()
    got = shapes(torch, largest, 3, 321, 321)
    assert [shape[1] for kind, shape in got if kind == "pool"] == [161, 81, 41, 41, 41]
    assert got[-3:] == [("convolution", (channels, 41, 41)) for channels in (1024, 1024, 21)]
    for stride in (8, 16):
        with torch.device("meta"):
            network = models.DeepLabV3(output_stride=stride)
        maps = network.trunk(torch.empty(1, 3, 512, 512, device="meta"))
        assert [x.shape[1:] for x in maps[:2]] == [(256, 128, 128), (512, 64, 64)]
        assert maps[-1].shape[1:] == (2048, 512 // stride, 512 // stride)


OVERFEAT = [
    ("overfeat_fast", 231, 1),
    ("overfeat_fast", 245, 1),
    ("overfeat_fast", 281, 2),
    ("overfeat_fast", 461, 8),
    *[("overfeat_accurate", *x) for x in ((221, 1), (245, 1), (281, 2), (317, 3), (389, 5), (425, 6), (461, 7))],
]


@pytest.mark.parametrize(("name", "size", "want"), OVERFEAT)
def test_overfeat_shapes(torch: Any, models: Any, name: str, size: int, want: int) -> None:
    """The paper's multi-scale table; with offset pooling one place for each offset of the last pool."""
    with torch.device("meta"):
        network = models.MODELS[name]()
        image = torch.empty(1, 3, size, size)
    assert network.features(image).shape[1] == 1024
    scores, boxes = network(image)
    assert scores.shape == (1, 1000, want, want)
    assert boxes.shape == (1, 4, want, want)
    pooled = network.features(image).shape[-1]
    assert network(image, dense=True)[0].shape[-1] == pooled - network.last_pool * network.kernel + 1
    assert network.window == (231 if "fast" in name else 221)
    assert (network.step(), network.step(dense=True)) == ((32, 16) if "fast" in name else (36, 12))
    if "accurate" in name and size > 221:
        before = {245: 17, 281: 20, 317: 23, 389: 29, 425: 32, 461: 35}
        assert pooled == before[size]


def test_yolo_shapes(torch: Any, models: Any) -> None:
    with torch.device("meta"):
        network, tiny = models.YOLOv1(local=True, predictors=3), models.YOLOv1Tiny()
        image = torch.empty(1, 3, 448, 448)
    got = [shape for kind, shape in shapes(torch, network, 3, 448, 448) if kind == "convolution"]
    assert len(got) == 24
    assert got[-1] == (1024, 7, 7)
    assert network.head[0](torch.empty(1, 1024, 7, 7, device="meta")).shape == (1, 256, 7, 7)
    assert network(image).flatten().shape == (1715,)
    assert tiny(image).shape == (1, 7, 7, 30)


def test_ssd_shapes(torch: Any, models: Any) -> None:
    with torch.device("meta"):
        network = models.SSD300()
    offsets, scores = network(torch.empty(2, 3, 300, 300, device="meta"))
    assert offsets.shape == (2, 8732, 4)
    assert scores.shape == (2, 8732, 21)


@pytest.mark.parametrize("name", ["unet", "fcn8s", "fcn32s", "segnet", "segnet_basic", "deeplab_v3plus", "pspnet"])
@pytest.mark.parametrize("size", [(33, 50), (64, 48)])
def test_any_image_size(torch: Any, models: Any, name: str, size: tuple[int, int]) -> None:
    options = {"padded": True, "in_channels": 3} if name == "unet" else {}
    network = models.MODELS[name](5, width=1 / 32, **options).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, *size)).shape == (1, 5, *size)
