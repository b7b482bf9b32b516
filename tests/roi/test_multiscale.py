"""RoIAlign from a pyramid: the same as map by map, levels as torchvision's, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.roi import multiscale_roi_align, multiscale_roi_align_backward, roi_align, roi_align_backward

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
each_backend = pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
SCALES = [0.25, 0.125, 0.0625, 0.03125]


def pyramid(dtype: Any = np.float64, channels: int = 3) -> tuple[list[Any], Any]:
    """Four maps of two images of 256 x 320 pixels, and boxes of all sizes, some of them at a bound between levels."""
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, channels, int(256 * s), int(320 * s))).astype(dtype) for s in SCALES]
    side = np.concatenate([np.exp(rng.uniform(np.log(4), np.log(600), 60)), [56, 112, 224, 448, 111.9, 223.9, 447.9]])
    corner = rng.random((len(side), 2)) * 200 - 20
    corner[-7:] = 0
    boxes = np.hstack([rng.integers(0, 2, (len(side), 1)), corner, corner + side[:, None]])
    return maps, boxes


@each_backend
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_map_by_map(backend: str, dtype: Any) -> None:
    maps, boxes = pyramid(dtype)
    area = np.prod(boxes[:, 3:] - boxes[:, 1:3], 1)
    level = np.clip(np.floor(4 + np.log2(np.sqrt(area) / 224) + 1e-6), 2, 5).astype(int) - 2
    assert set(level) == {0, 1, 2, 3}
    got = multiscale_roi_align(maps, boxes, (3, 4), SCALES, 2, backend=backend)
    grad = np.random.default_rng(1).standard_normal(got.shape).astype(dtype)
    back = multiscale_roi_align_backward(grad, boxes, [x.shape for x in maps], SCALES, 2, backend=backend)
    for i, (x, scale) in enumerate(zip(maps, SCALES, strict=True)):
        own = level == i
        np.testing.assert_array_equal(got[own], roi_align(x, boxes[own], (3, 4), scale, 2, backend=backend))
        want = roi_align_backward(grad[own], boxes[own], x.shape, scale, 2, backend=backend)
        np.testing.assert_array_equal(back[i], want)


def test_as_torchvision() -> None:
    torch, ops = need("torch"), need("torchvision").ops
    maps, boxes = pyramid()
    theirs = ops.MultiScaleRoIAlign(list("abcd"), 5, 2)
    x = {name: torch.from_numpy(m) for name, m in zip("abcd", maps, strict=True)}
    by_image = [torch.from_numpy(boxes[boxes[:, 0] == i, 1:]) for i in range(2)]
    want = theirs(x, by_image, [(256, 320), (256, 320)])
    got = multiscale_roi_align(list(x.values()), by_image, 5, SCALES)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_torch() -> None:
    """Gradients, a compiled and an exported program, and function transforms give the direct call's answer."""
    torch = need("torch")
    maps, boxes = pyramid(channels=2)
    leaves = [torch.from_numpy(x).requires_grad_() for x in maps]
    boxes = torch.from_numpy(boxes)

    def pooled(*xs: Any) -> Any:
        return multiscale_roi_align(list(xs), boxes, 2, SCALES)

    want = multiscale_roi_align(maps, boxes.numpy(), 2, SCALES)
    grad = np.random.default_rng(2).standard_normal(want.shape)
    wanted = multiscale_roi_align_backward(grad, boxes.numpy(), [x.shape for x in maps], SCALES)
    y = pooled(*leaves)
    y.backward(torch.from_numpy(grad))
    np.testing.assert_array_equal(y.detach(), want)
    for leaf, w in zip(leaves, wanted, strict=True):
        np.testing.assert_array_equal(leaf.grad, w)
    plain = [leaf.detach() for leaf in leaves]
    np.testing.assert_array_equal(torch.compile(pooled, fullgraph=True, backend="aot_eager")(*plain), want)
    got = torch.func.vjp(pooled, *plain)[1](torch.from_numpy(grad))
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(g, w)
    assert torch.vmap(pooled)(*(torch.stack([x, x]) for x in plain)).shape == (2, *want.shape)

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, xs: Any, b: Any) -> Any:
            return multiscale_roi_align(xs, b, 2, SCALES)

    by_image = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    program = torch.export.export(Module(), (plain, by_image)).module()
    np.testing.assert_array_equal(program(plain, by_image), Module()(plain, by_image))


def test_mixed_orders_and_errors() -> None:
    maps, boxes = pyramid()
    last = np.ascontiguousarray(maps[1].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    want = multiscale_roi_align(maps, boxes, 2, SCALES)
    np.testing.assert_array_equal(multiscale_roi_align([maps[0], last, *maps[2:]], boxes, 2, SCALES), want)
    for call, error, text in (
        (lambda: multiscale_roi_align([], boxes, 2, []), TypeError, "inputs must be a list with one map per level"),
        (lambda: multiscale_roi_align(maps, boxes, 2, SCALES[1:]), ValueError, "spatial_scales must have 4 entries"),
        (lambda: multiscale_roi_align(maps[:2], boxes, 2, [1, 0.4]), ValueError, "spatial_scales must halve from map"),
        (lambda: multiscale_roi_align([maps[0], maps[1][:1]], boxes, 2, [1, 0.5]), ValueError, r"inputs\[1\] must"),
        (lambda: multiscale_roi_align([maps[0], maps[1].astype("f")], boxes, 2, [1, 0.5]), TypeError,
         r"inputs\[1\] must be float64 as inputs\[0\], got float32"),
        (lambda: multiscale_roi_align(maps, boxes + 2, 2, SCALES), ValueError, "boxes must name an image"),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^multiscale_roi_align: {text}"):
            call()
