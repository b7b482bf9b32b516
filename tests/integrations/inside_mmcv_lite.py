"""mmcv-lite with the stand-in: every name that it asks for, its public functions, and the way back."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from fastdet import integrations
from fastdet.integrations._mmcv_ext import OPS, stand_in

if True:  # before mmcv.ops is imported
    MADE = integrations.mmcv()

import mmcv.ops
from mmcv.utils import ext_loader


def names_asked_for() -> set[str]:
    """What ``load_ext('_ext', [...])`` gets in mmcv's sources."""
    found: set[str] = set()
    for path in Path(mmcv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load_ext":
                assert ast.literal_eval(node.args[0]) == "_ext"
                found |= set(ast.literal_eval(node.args[1]))
    return found


def test_every_name_is_there() -> None:
    names, ext = names_asked_for(), sys.modules["mmcv._ext"]
    assert len(names) > 100
    assert set(OPS) <= names
    ext_loader.load_ext("_ext", sorted(names))
    for name in names - set(OPS):
        with pytest.raises(NotImplementedError, match=name):
            getattr(ext, name)()
    assert MADE.replaced == tuple(f"mmcv._ext.{name}" for name in sorted(OPS))
    assert importlib.util.find_spec("mmcv._ext") is not None
    assert ext_loader.check_ops_exist()


def test_called_twice_and_in_threads() -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(integrations.mmcv())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(made is MADE for made in found)
    assert len(found) == 8
    with pytest.raises(integrations.IntegrationError, match="already active"):
        integrations.mmcv(replace=True)


def test_public_functions() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 0, 1])
    dets, keep = mmcv.ops.batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.5})
    assert keep.tolist() == [0, 2]
    assert dets.shape == (2, 5)
    dets, keep = mmcv.ops.batched_nms(boxes, scores, labels, {"type": "soft_nms", "iou_threshold": 0.5})
    assert keep.tolist() == [0, 2, 1]
    assert float(dets[2, 4]) == pytest.approx(0.8 * (1 - 9 / 11))
    arrays, keep = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.5)
    assert keep.tolist() == [0, 2]
    assert arrays.dtype == "float32"
    assert [g.tolist() for g in mmcv.ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.5)] == [[0, 1], [2]]
    rotated = torch.tensor([[5.0, 5, 10, 10, 0.1], [5, 5, 10, 10, -0.1], [50, 5, 4, 4, 1]])
    plain = mmcv.ops.box_iou_rotated(rotated, rotated)
    turned = mmcv.ops.box_iou_rotated(rotated, rotated, clockwise=False)
    assert torch.allclose(plain, turned)
    assert float(plain[0, 0]) == 1
    assert 0.6 < float(plain[0, 1]) < 1
    assert mmcv.ops.nms_rotated(rotated, scores, 0.5)[1].tolist() == [0, 2]
    assert mmcv.ops.nms_rotated(rotated, scores, 0.5, torch.tensor([0.0, 1, 1]))[1].tolist() == [0, 2]  # as mmcv
    assert mmcv.ops.bbox_overlaps(boxes, boxes, mode="iof", offset=1).shape == (3, 3)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_gradients_of_roi_align(mode: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0.0, 0.3, 0.6, 4.2, 5.1]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: mmcv.ops.roi_align(t, rois, (2, 2), 1.0, 2, mode, True), (x,))
    turned = torch.tensor([[0.0, 2.3, 2.6, 4.2, 3.1, 0.4]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: mmcv.ops.roi_align_rotated(t, turned, (2, 2), 1.0, 2), (x,))
    assert torch.autograd.gradcheck(lambda t: mmcv.ops.roi_pool(t, rois, (2, 2), 1.0), (x,))


def test_layers_train() -> None:
    torch.manual_seed(0)
    for name in ("DeformConv2dPack", "ModulatedDeformConv2dPack"):
        layer = getattr(mmcv.ops, name)(4, 6, 3, padding=1)
        x = torch.randn(2, 4, 5, 5, requires_grad=True)
        out = layer(x)
        same = torch.nn.functional.conv2d(x, layer.weight, None, padding=1)
        mask = 1.0 if name == "DeformConv2dPack" else 0.5  # offsets start at 0, masks at sigmoid(0)
        bias = 0 if name == "DeformConv2dPack" else layer.bias[:, None, None]
        torch.testing.assert_close(out, same * mask + bias, rtol=1e-4, atol=1e-5)
        out.square().sum().backward()
        assert bool(layer.conv_offset.weight.grad.any())
        assert bool(x.grad.any())


def test_a_compiled_module_is_left_alone_or_kept_below(monkeypatch: pytest.MonkeyPatch) -> None:
    MADE.undo()
    assert "mmcv._ext" not in sys.modules
    assert integrations.active() == []
    own = stand_in(None)  # as if mmcv had been built
    own.nms, own.tin_shift_forward = max, min
    monkeypatch.setitem(sys.modules, "mmcv._ext", own)
    users = importlib.import_module("mmcv.ops.nms")
    monkeypatch.setattr(users, "ext_module", own)
    made = integrations.mmcv()
    assert made.replaced == ()
    assert sys.modules["mmcv._ext"] is own
    assert "replace=True" in str(made)
    made.undo()
    made = integrations.mmcv(replace=True)
    now: Any = sys.modules["mmcv._ext"]
    assert now.nms is OPS["nms"]
    assert now.tin_shift_forward is min
    assert users.ext_module is now
    made.undo()
    assert sys.modules["mmcv._ext"] is own
    assert users.ext_module is own
