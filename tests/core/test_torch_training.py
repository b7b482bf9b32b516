"""The registered ops inside a network: training, pickling, workers of a data loader."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import pool, upsample
from fastdet.losses import cross_entropy

pytestmark = [  # torch's own, of what it imports and compiles
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture
def torch() -> Any:
    module = need("torch")
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    return module


def image(torch: Any, *shape: int) -> Any:
    """Distinct values in a fixed random order."""
    count = int(np.prod(shape or (2, 3, 6, 7)))
    return torch.from_numpy(np.random.default_rng(0).permutation(count) / 7.0).reshape(shape or (2, 3, 6, 7))


def pooled(x: Any) -> Any:
    return pool.max_pool2d(x, 2)


def results(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def check_equal(got: Any, want: Any) -> None:
    for g, w in zip(results(got), results(want), strict=True):
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        np.testing.assert_array_equal(g.detach().numpy(), w.detach().numpy())


def module(torch: Any, call: Callable[..., Any]) -> Any:
    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            result = call(*args)
            return tuple(result) if isinstance(result, tuple) else result

    return Wrapped()


# A small network: encoder with indices, decoder, upsampling.


def network(torch: Any, ours: bool, dtype: Any) -> Any:
    functional = torch.nn.functional

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.down = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.up = torch.nn.Conv2d(8, 4, 3, padding=1)

        def forward(self, x: Any, target: Any) -> Any:
            x = functional.relu(self.down(x))
            if ours:
                x, indices = pool.max_pool2d(x, 2)
                x = self.up(pool.max_unpool2d(x, indices, 2))
                x = upsample.upsample_bilinear(x, scale_factor=2)
                return cross_entropy(x, target, ignore_index=255)
            x, indices = functional.max_pool2d(x, 2, return_indices=True)
            x = self.up(functional.max_unpool2d(x, indices, 2))
            x = functional.interpolate(x, scale_factor=2, mode="bilinear")
            return functional.cross_entropy(x, target, ignore_index=255)

    torch.manual_seed(0)
    return Net().to(dtype)


def curve(torch: Any, net: Any, call: Callable[..., Any], dtype: Any, steps: int = 8) -> list[float]:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((2, 3, 8, 10))).to(dtype)
    target = torch.from_numpy(rng.integers(0, 4, (2, 16, 20)))
    target[:, :2] = 255
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = call(x, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("backend", [None, "aot_eager", "inductor"])
def test_training(torch: Any, backend: str | None) -> None:
    """The loss falls along the same curve as with torch's own ops, eager and compiled in one graph."""
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        peer = network(torch, False, dtype)
        want = curve(torch, peer, peer, dtype)
        net = network(torch, True, dtype)
        call = net if backend is None else torch.compile(net, fullgraph=True, backend=backend)
        got = curve(torch, net, call, dtype)
        assert got[-1] < got[0]
        np.testing.assert_allclose(got, want, rtol=tolerance)


def test_pickled_module(torch: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), Pool())
    x = torch.zeros(1, 3, 4, 4)
    check_equal(pickle.loads(pickle.dumps(net.state_dict()))["0.weight"], net[0].weight)
    assert net(x).shape == (1, 3, 2, 2)


class Pool:
    """Takes the place of a torch.nn.Module, which cannot be subclassed without torch."""

    def __new__(cls) -> Any:
        torch = need("torch")

        class Module(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return pooled(x)[0]

        return Module()


class Items:
    """A dataset whose items are made by fastdet, in a worker."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        torch = need("torch")
        x = torch.full((1, 4, 4), float(i), requires_grad=True)
        y, indices = pooled(x)  # a graph, but no backward: torch's own threads for it need not survive a fork
        return y.detach() + pool.max_pool2d_backward(torch.ones(1, 2, 2), indices, (4, 4), 2).sum()


def test_loader_workers(torch: Any) -> None:
    """Workers of a data loader after a fork, by both paths."""
    pooled(image(torch).requires_grad_())[0].sum().backward()
    loader = torch.utils.data.DataLoader(Items(), batch_size=2, num_workers=1)
    assert [y[:, 0, 0, 0].tolist() for y in loader] == [[4, 5], [6, 7]]
