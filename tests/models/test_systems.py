"""Networks: training, the segmentation systems' own rules, and OverFeat."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from networks import SMALL, tensors
from optional import need

from fastdet.inference import overlap_tile
from fastdet.upsample import upsample_bilinear

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised while torch is imported


def small(torch: Any, models: Any, name: str) -> tuple[Any, Any]:
    """A network with random weights everywhere (score layers begin at 0), and an image."""
    options, shape = SMALL[name]
    network = models.MODELS[name](**options)
    with torch.no_grad():
        for x in network.parameters():
            x.add_(0.02 * torch.randn_like(x))
    return network, torch.randn(shape)


# Training


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(torch: Any, models: Any, name: str) -> None:
    network, image = small(torch, models, name)
    sum(x.square().sum() for x in tensors(network(image))).backward()
    for key, x in network.named_parameters():
        assert x.grad is not None, key
        assert x.grad.isfinite().all(), key
        assert x.ndim == 1 or x.grad.any(), key  # a bias before batch normalisation has the gradient 0


@pytest.mark.parametrize("name", SMALL)
def test_compile(torch: Any, models: Any, name: str) -> None:
    """A network compiles to one graph, and the forward pass has equal results."""
    network, image = small(torch, models, name)
    compiled = torch.compile(network.eval(), fullgraph=True, backend="eager")
    with torch.no_grad():
        for got, want in zip(tensors(compiled(image)), tensors(network(image)), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("name", ["segnet_basic", "unet"])
def test_compile_training(torch: Any, models: Any, name: str) -> None:
    """Training compiles, through the ops' fake implementations and registered derivatives."""
    network, image = small(torch, models, name)
    network.eval()  # no dropout
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    gradients = []
    for call in (compiled, network):
        network.zero_grad()
        call(image).square().sum().backward()
        gradients.append([x.grad.clone() for x in network.parameters()])
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", SMALL)
def test_cuda(torch: Any, models: Any, name: str) -> None:
    """A network gives the same numbers on a GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    network, image = small(torch, models, name)
    network.double().eval()
    with torch.no_grad():
        want = tensors(network(image.double()))
        got = tensors(network.cuda()(image.double().cuda()))
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x.cpu(), y)


# Systems of segmentation


def test_vgg_loads_torchvision(torch: Any, models: Any) -> None:
    """The names and shapes of torchvision's state dict, written down here."""
    convolutions = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 2]
    convolutions += [(256, 512), *[(512, 512)] * 5]
    linear = {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)}
    for norm, places in (
        (False, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
        (True, (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)),
    ):
        want: dict[str, tuple[int, ...]] = {}
        for place, (inputs, outputs) in zip(places, convolutions, strict=True):
            want[f"features.{place}.weight"] = (outputs, inputs, 3, 3)
            want[f"features.{place}.bias"] = (outputs,)
            if norm:
                names = ("weight", "bias", "running_mean", "running_var")
                want |= {f"features.{place + 1}.{x}": (outputs,) for x in names}
                want[f"features.{place + 1}.num_batches_tracked"] = ()
        for layer, shape in linear.items():
            want |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
        with torch.device("meta"):
            network = models.VGG16(norm=norm)
        assert {key: tuple(x.shape) for key, x in network.state_dict().items()} == want


def test_resnet_has_torchvisions_names(torch: Any, models: Any) -> None:
    with torch.device("meta"):
        state = models.resnet.ResNet(50, 8).state_dict()
    assert {key.split(".")[0] for key in state} == {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert state["layer3.0.downsample.0.weight"].shape == (1024, 512, 1, 1)
    assert state["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert state["layer1.0.bn3.running_var"].shape == (256,)


def test_converted_classifier(torch: Any, models: Any) -> None:
    """On a 224 pixel image the converted classifier gives the Linear one's scores, as a 1 x 1 map."""
    vgg = models.VGG16(6, width=1 / 16).eval()
    linear = [vgg.classifier[i] for i in (0, 3, 6)]
    converted = torch.nn.Sequential(
        *(models.convert_linear(linear[0], 7), torch.nn.ReLU(), models.convert_linear(linear[1]), torch.nn.ReLU()),
        models.convert_linear(linear[2]),
    )
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        got = converted(vgg.features(image))
        assert got.shape == (2, 6, 1, 1)
        torch.testing.assert_close(got[..., 0, 0], vgg(image))
        maps = vgg.features(torch.randn(1, 3, 288, 256))  # larger: one score for each window of the map
        want = torch.stack([vgg.classifier(maps[..., y : y + 7, x : x + 7].flatten(1)) for y in (0, 2) for x in (0, 1)])
        torch.testing.assert_close(converted(maps)[..., [0, 2], :].flatten(2).permute(2, 0, 1), want)
    with pytest.raises(ValueError, match="convert_linear: linear must have a multiple of 9 inputs, got 32"):
        models.convert_linear(torch.nn.Linear(32, 2), 3)
    with pytest.raises(ValueError, match="convert_linear: kernel must be 1 or more, got 0"):
        models.convert_linear(torch.nn.Linear(32, 2), 0)
    with pytest.raises(TypeError, match="convert_linear: linear must be a Linear layer, got Conv2d"):
        models.convert_linear(torch.nn.Conv2d(32, 2, 1))


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_width_is_checked(torch: Any, models: Any, width: float) -> None:
    for name in models.MODELS:
        with pytest.raises(ValueError, match=f"width must be above 0 and finite, got {width}"):
            models.MODELS[name](width=width)


@pytest.mark.parametrize("norm", [False, True])
def test_fcn_loads_vgg(torch: Any, models: Any, norm: bool) -> None:
    vgg = models.VGG16(6, width=1 / 16, norm=norm).eval()
    network = models.FCN8s(4, width=1 / 16, norm=norm).eval()
    network.load_vgg(vgg.state_dict())
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        x = vgg.features(image)
        want = vgg.classifier[:4](x.flatten(1))
        network.stages[0][0].padding = 1
        for stage in network.stages:
            image = stage(image)
        torch.testing.assert_close(image, x)
        torch.testing.assert_close(network.fc7(network.fc6(image).relu()).flatten(1), want)


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_fcn_starts_as_bilinear_resampling(torch: Any, models: Any, name: str) -> None:
    """A new transposed convolution keeps classes apart and equals `upsample_bilinear` away from the borders."""
    network = models.MODELS[name](3, width=1 / 32)
    for layer in network.upscores:
        factor = layer.stride[0]
        x = torch.randn(1, 3, 5, 6)
        with torch.no_grad():
            got = layer(x)[..., factor // 2 : -(factor // 2), factor // 2 : -(factor // 2)]
        want = upsample_bilinear(x, scale_factor=factor)
        inner = slice(factor, -factor)
        torch.testing.assert_close(got[..., inner, inner], want[..., inner, inner])
    assert [layer.stride[0] for layer in network.upscores] == {"32": [32], "16": [2, 16], "8": [2, 2, 8]}[name[3:-1]]


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_fcn_crops_the_padding(torch: Any, models: Any, name: str) -> None:
    """If each cell's score is the row of the image at its centre, then each pixel's score is its own row."""
    network = models.MODELS[name](1, width=1 / 32).eval()
    lift = 1000.0  # keeps values positive, so that ReLU changes none
    with torch.no_grad():
        for conv, centre in ((network.fc6, 3), (network.fc7, 0)):
            conv.weight.zero_()
            conv.weight[0, 0, centre, centre] = 1
        for score in network.scores:
            score.weight[:, 0] = 1
            score.bias.fill_(-lift)

        class Rows(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, level: int, stage: Any) -> None:
                super().__init__()
                self.level, self.stage = level, stage

            def forward(self, x: Any) -> Any:
                x, stride = self.stage(x), 2 << self.level
                rows = stride * torch.arange(float(x.shape[2])) + (stride - 1) / 2 - 99  # the centre of a cell
                return (rows + lift)[:, None].expand_as(x)

        network.stages = torch.nn.ModuleList(Rows(*pair) for pair in enumerate(network.stages))
        got = network(torch.zeros(1, 3, 224, 200))[0, 0, 64:160, 64:136] / len(network.scores)
    torch.testing.assert_close(got, torch.arange(64.0, 160)[:, None].expand_as(got), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["segnet", "segnet_basic"])
def test_segnet_unpools_where_the_maxima_were(torch: Any, models: Any, name: str) -> None:
    """With equal weights, the decoder's input has one value in each window, at the maximum; or four equal ones."""
    torch.manual_seed(1)
    network = models.MODELS[name](3, width=1 / 16).eval()
    nearest = models.MODELS[name](3, width=1 / 16, upsampling="nearest").eval()
    nearest.load_state_dict(network.state_dict())
    image, maps = torch.randn(1, 3, 32, 64), []
    for segnet in (network, nearest):
        segnet.encoder[0].register_forward_hook(lambda _, inputs, out: maps.append(out))
        segnet.decoder[-1].register_forward_hook(lambda _, inputs, out: maps.append(inputs[0]))
        with torch.no_grad():
            segnet(image)
    first, unpooled, _, repeated = (x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4) for x in maps)
    placed = unpooled != 0
    assert placed.any()
    assert placed.sum(-1).max() == 1
    where = placed.nonzero(as_tuple=True)
    assert torch.equal(first[where], first.amax(-1)[where[:-1]])
    assert torch.equal(repeated, repeated[..., :1].expand_as(repeated))
    with pytest.raises(ValueError, match="SegNet: upsampling must be 'unpool' or 'nearest', got 'cubic'"):
        models.MODELS[name](upsampling="cubic")


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_unet_tiles(torch: Any, models: Any, up: str, depth: int) -> None:
    """Tiles of a network of valid convolutions give the result of the whole image, mirrored at its border."""
    network = models.UNet(2, width=1 / 16, up=up, depth=depth).eval()
    tiling = network.tiling(64)
    image = torch.randn(1, 150, 230)
    reach = tiling["margin"] - network.margin
    sides = [network.fitting(side + 2 * reach) for side in (150, 230)]
    (down, right), around = (side - n for side, n in zip(sides, (150, 230), strict=True)), tiling["margin"]
    mirrored = torch.nn.functional.pad(image[None], (around, right - around, around, down - around), mode="reflect")
    with torch.no_grad():
        tiled = overlap_tile(network, image, **tiling)
        whole = network(mirrored)[0, :, reach : reach + 150, reach : reach + 230]
        torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5)
        narrow = overlap_tile(network, image, **{**tiling, "margin": network.margin})
    assert ((narrow - whole).abs().max() > 1e-3) == (up == "bilinear") == (reach > 0)


def test_unet_refuses_invalid_sizes(models: Any) -> None:
    torch = need("torch")
    for padded, size, rule in (
        (False, (188, 203), "sides that halve evenly"),
        (False, (172, 188), "sides that halve evenly"),
        (True, (15, 40), "16 pixels or more"),
    ):
        with pytest.raises(ValueError, match=f"UNet: image must have {rule}.*, got {re.escape(str(size))}"):
            models.UNet(2, width=1 / 16, padded=padded)(torch.zeros(1, 1, *size))
    with pytest.raises(ValueError, match=r"UNet\.tiling: padded must be False, got True"):
        models.UNet(2, width=1 / 16, padded=True).tiling(64)


def test_dilated_convolution_reaches_further(torch: Any, models: Any) -> None:
    """A pixel of LargeFOV's fc6 depends on cells of the last map at distances of its rate, and on no others."""
    network = models.DeepLabLargeFOV(2, width=1 / 32).eval()
    maps = torch.zeros(1, 16, 41, 41, requires_grad=True)
    network.head[0](maps)[0, 0, 20, 20].backward()
    rows, columns = (x.unique().tolist() for x in maps.grad[0, 0].nonzero(as_tuple=True))
    assert rows == columns == [8, 20, 32]


def test_object_context(torch: Any, models: Any) -> None:
    """OCR's two steps, pixel by pixel in NumPy."""
    pixels, regions = torch.randn(2, 4, 3, 5), torch.randn(2, 3, 3, 5)
    objects = models.hrnet.class_means(pixels, regions)
    share = np.exp(regions.numpy().reshape(2, 3, 15))
    share /= share.sum(-1, keepdims=True)
    want = np.einsum("nkp,ncp->nck", share, pixels.numpy().reshape(2, 4, 15))
    np.testing.assert_allclose(objects[..., 0].numpy(), want, rtol=1e-5, atol=1e-6)
    key, value = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    got = models.hrnet.attention(pixels, key, value)
    for n, y, x in np.ndindex(2, 3, 5):
        similarity = np.exp(key[n].numpy().T @ pixels[n, :, y, x].numpy() / 2)  # 2 is the square root of 4 channels
        want = value[n].numpy() @ (similarity / similarity.sum())
        np.testing.assert_allclose(got[n, :, y, x].numpy(), want, rtol=1e-5, atol=1e-6)


# OverFeat


@pytest.mark.parametrize("name", ["overfeat_fast", "overfeat_accurate"])
def test_overfeat_is_every_window_by_itself(torch: Any, models: Any, name: str) -> None:
    """Dense evaluation equals that of each window alone, unless padding reaches into the window."""
    network = models.MODELS[name](5, width=1 / 32, padded=False).eval()
    side, step = network.window, network.step(dense=True)
    assert side == {"overfeat_fast": 327, "overfeat_accurate": 317}[name]
    image = torch.randn(1, 3, side + 2 * step + 1, side + 3 * step)
    with torch.no_grad():
        scores, boxes = network(image, dense=True)
        assert scores.shape == (1, 5, 3, 4)
        for y, x in np.ndindex(3, 4):
            window = image[..., y * step : y * step + side, x * step : x * step + side]
            for got, alone in zip((scores, boxes), network(window), strict=True):
                torch.testing.assert_close(got[..., y : y + 1, x : x + 1], alone, rtol=1e-4, atol=1e-5)
        padded = models.MODELS[name](5, width=1 / 32).eval()
        padded.load_state_dict(network.state_dict())
        side = padded.window
        want = padded(image[..., :side, :side])[0]
        torch.testing.assert_close(padded(image[..., :side, :side], dense=True)[0], want)
        assert not torch.allclose(padded(image, dense=True)[0][..., :1, :1], want, rtol=1e-3)


@pytest.mark.parametrize("name", ["overfeat_fast", "overfeat_accurate"])
def test_offset_pooling(torch: Any, models: Any, name: str) -> None:
    """Equal to the paper's procedure: the last pool at every offset, the heads on each, results interleaved."""
    network = models.MODELS[name](5, width=1 / 32, class_boxes=True).eval()
    p = network.last_pool
    with torch.no_grad():
        image = torch.randn(1, 3, 300, 290)
        scores, boxes = network(image, dense=True)
        assert boxes.shape[1] == 20
        maps = network.features(image)
        for dy, dx in np.ndindex(p, p):
            pooled = torch.nn.functional.max_pool2d(maps[..., dy:, dx:], p)
            for got, head in ((scores, network.classifier), (boxes, network.regressor)):
                torch.testing.assert_close(got[..., dy::p, dx::p], head(pooled))
