"""A part of an image keeps the image's memory order, channels last or planes, as torch's own ops keep it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import pool, upsample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
OPS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "max_pool2d": (
        lambda x: pool.max_pool2d(x, 2, return_indices=False),
        lambda f, x: f.max_pool2d(x, 2),
    ),
    "upsample_bilinear": (
        lambda x: upsample.upsample_bilinear(x, (9, 8)),
        lambda f, x: f.interpolate(x, (9, 8), mode="bilinear"),
    ),
    "max_unpool2d": (
        lambda x: pool.max_unpool2d(x, np.zeros(x.shape, np.uint8), 2),
        lambda f, x: f.max_pool2d(x, 1),  # as large as x: only its order is looked at
    ),
}
PARTS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "rows": lambda x: x[:, :, 1:],
    "columns": lambda x: x[..., 1:-1],
    "every second pixel": lambda x: x[..., ::2, ::2],
    "channels": lambda x: x[:, 1:],
    "images": lambda x: x[::2],
    "one column": lambda x: x[..., :1, 2:4],
}


def order(x: Any) -> list[int]:
    """Axes with more than one entry, by falling stride."""
    strides = x.stride() if hasattr(x, "stride") else x.strides
    return sorted((axis for axis in range(4) if x.shape[axis] > 1), key=lambda axis: -strides[axis])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", OPS)
def test_as_torch_keeps_it(name: str, part: str) -> None:
    torch, (call, theirs) = need("torch"), OPS[name]
    x = torch.from_numpy(np.random.default_rng(0).random((4, 5, 10, 12), np.float32))
    last = x.contiguous(memory_format=torch.channels_last)
    for image in (x, last):
        view = PARTS[part](image)
        if name != "upsample_bilinear" and view.shape[2] < 2:
            continue
        got = call(view)
        assert order(got) == order(theirs(torch.nn.functional, view)), name
        np.testing.assert_array_equal(got.numpy(), call(view.contiguous()).numpy())
        assert order(call(view.numpy())) == order(got)
        if name != "max_unpool2d":  # whose indices are an array
            with torch._subclasses.FakeTensorMode() as mode:
                fake = call(mode.from_tensor(view))
            assert fake.stride() == got.stride()


def test_channels_last_as_an_argument() -> None:
    """HWC of rows of an image stays HWC; a part of planes that is looked at as HWC stays planes."""
    image = np.random.default_rng(0).random((2, 10, 12, 3))
    for view, want in (
        (image[:, ::2, 1:], [0, 1, 2, 3]),
        (np.ascontiguousarray(image.transpose(0, 3, 1, 2))[:, :, 1:, 2:].transpose(0, 2, 3, 1), [0, 3, 1, 2]),
    ):
        got = upsample.upsample_bilinear(view, (7, 5), channels_last=True)
        assert order(got) == want
        np.testing.assert_array_equal(got, upsample.upsample_bilinear(view.copy(), (7, 5), channels_last=True))
