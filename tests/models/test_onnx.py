"""Networks as ONNX files, by both of torch's exporters: ONNX Runtime gives the network's result, to rounding."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import SMALL, tensors
from optional import need

QUICK = ("segnet", "unet", "deeplab_largefov", "vgg16", "ssd300")  # the others are for the exhaustive run
ANY_SIZE = {"fcn8s": (50, 70), "segnet": (64, 48), "pspnet": (61, 77), "unet": (188, 236), "vgg16": (100, 120)}
BOTH = pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])


def network_of(torch: Any, models: Any, name: str) -> tuple[Any, Any]:
    """A network with scores of about 1, and images."""
    torch.manual_seed(0)
    network = models.MODELS[name](**SMALL[name].options).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight)
    return network, torch.rand(*SMALL[name].shape)


def exported(torch: Any, network: Any, image: Any, path: Path, dynamo: bool, **options: Any) -> Any:
    """A session of the file that an exporter writes; all of its nodes are of ONNX's own domain."""
    onnx, runtime = need("onnx"), need("onnxruntime")
    if dynamo:
        need("onnxscript")
    with warnings.catch_warnings(), torch.no_grad():  # torch's own, of what it imports, traces and folds
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (image,), str(path), dynamo=dynamo, input_names=["image"], **options)
    nodes = onnx.load(path).graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"]), {node.op_type for node in nodes}


def check_close(session: Any, network: Any, image: Any) -> None:
    import torch

    with torch.no_grad():
        want = [x.numpy() for x in tensors(network(image))]
    got = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=0, atol=2e-5 * max(np.abs(w).max(), 1))


def cases(names: Any, quick: tuple[str, ...]) -> list[Any]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.exhaustive) for name in names]


@BOTH
@pytest.mark.parametrize("name", cases(SMALL, QUICK))
def test_networks(torch: Any, models: Any, tmp_path: Path, name: str, dynamo: bool) -> None:
    network, image = network_of(torch, models, name)
    session, ops = exported(torch, network, image, tmp_path / "network.onnx", dynamo)
    check_close(session, network, image)
    if name in ("deeplab_v3", "unet", "hrnet_v2"):
        assert "Resize" in ops
    if name == "segnet":
        assert {"MaxPool", "ScatterElements"} <= ops


@BOTH
@pytest.mark.parametrize("name", cases(ANY_SIZE, ("segnet",)))
def test_images_of_any_size(torch: Any, models: Any, tmp_path: Path, name: str, dynamo: bool) -> None:
    network, image = network_of(torch, models, name)
    options: dict[str, Any] = {"dynamic_axes": {"image": {0: "n", 2: "h", 3: "w"}}}
    if dynamo:
        options = {"dynamic_shapes": (dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC),)}
    session, _ = exported(torch, network, image, tmp_path / "network.onnx", dynamo, **options)
    for x in (image, torch.rand(3, image.shape[1], *ANY_SIZE[name])):
        check_close(session, network, x)
