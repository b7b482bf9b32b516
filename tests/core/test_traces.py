"""`torch.jit.trace` of ops that take a size: the size of each later image, not the one that the trace saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import pool, upsample

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def unpooled(x: Any, like: Any) -> Any:
    values, indices = pool.max_pool2d(x, 2, ceil_mode=True)
    return pool.max_unpool2d(values, indices, 2, output_size=x.shape)


def last(x: Any, like: Any) -> Any:
    height, width = like.shape[-2:]
    return upsample.upsample_bilinear(x, (height + 1, 2 * width), channels_last=True, align_corners=True)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "size": lambda x, like: upsample.upsample_bilinear(x, like.shape[-2:]),
    "a number and a size": lambda x, like: upsample.upsample_bilinear(x, (7, like.shape[-1])),
    "channels_last": last,
    "scale_factor": lambda x, like: upsample.upsample_bilinear(x, scale_factor=(2, 1.5)),
    "max_pool2d": lambda x, like: pool.max_pool2d(x, 3, 2, 1, return_indices=False),
    "max_unpool2d": unpooled,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_trace_takes_each_size(name: str) -> None:
    torch, call = need("torch"), CALLS[name]
    rng = np.random.default_rng(0)

    def images(*shapes: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(torch.from_numpy(rng.random(shape)) for shape in shapes)

    traced = torch.jit.trace(call, images((2, 3, 6, 8), (5, 4)))
    for shapes in (((2, 3, 6, 8), (5, 4)), ((1, 2, 9, 5), (11, 6)), ((4, 3, 7, 7), (3, 9))):
        x, like = images(*shapes)
        np.testing.assert_array_equal(traced(x, like).numpy(), call(x, like).numpy())
        grads = []
        for f in (traced, call):
            y = x.clone().requires_grad_()
            grads.append(torch.autograd.grad((f(y, like) ** 2).sum(), y)[0].numpy())
        np.testing.assert_array_equal(*grads)


def test_what_is_no_op_of_torch_refuses_a_trace() -> None:
    """Its numbers would be constants of the trace: every later input would get the first answer."""
    torch = need("torch")
    from fastdet import losses

    inputs = torch.zeros(1, 2, 3, 4), torch.zeros(1, 3, 4, dtype=torch.int64)
    losses.dice_loss_with_grad(*inputs)
    with pytest.raises(RuntimeError, match=r"dice_loss_with_grad: logits is a tensor of a torch\.jit\.trace"):
        torch.jit.trace(losses.dice_loss_with_grad, inputs)
