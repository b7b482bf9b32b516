"""The CUDA backend without a GPU, a driver or a build: one clear error."""

from __future__ import annotations

from typing import Any

import emulated
import pytest
from cuda_parity import B, OnDevice, S

import fastdet
from fastdet import boxes, nms


def test_without_a_gpu() -> None:
    """The error of a machine without a driver, from the real backend or from a build without it."""
    with emulated.real() as reason:
        assert fastdet.config()["backends"]["cuda"] == (reason or "available")
        if not reason:
            pytest.skip("a GPU is at hand: its tests are in test_cuda_gpu.py")
        for call in (lambda: nms.nms(OnDevice(), S, 0.5), lambda: boxes.box_iou(B, B, out=OnDevice())):
            with pytest.raises(NotImplementedError) as error:
                call()
            assert str(error.value).endswith(f": backend 'cuda' is not available: {reason}")


def test_import_needs_no_driver(python: Any) -> None:
    code = """
import fastdet, sys
state = fastdet.config()["backends"]["cuda"]
print(state)
assert "torch" not in sys.modules and "cupy" not in sys.modules
"""
    assert python(code, CUDA_VISIBLE_DEVICES="").stdout.strip() != ""
