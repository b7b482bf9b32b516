"""Connected components: every backend equals the reference, and OpenCV's numbers."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.masks import Components, connected_components

SHAPES = [(1, 1), (1, 70), (70, 1), (5, 64), (5, 65), (9, 130), (33, 33), (40, 200)]
Maps = Any


def drawn(shape: tuple[int, int], seed: int) -> list[Maps]:
    """Noise, regions and strips, of every width of integers."""
    rng = np.random.default_rng(seed)
    h, w = shape
    blocks = np.kron(rng.integers(0, 4, (h // 3 + 1, w // 5 + 1)), np.ones((3, 5), int))[:h, :w]
    comb = np.ones(shape, np.int16)
    comb[1:, 1::2] = 0
    return [
        *((rng.random(shape) < density).astype(np.uint8) for density in (0.1, 0.5, 0.8)),
        rng.random(shape) < 0.4,
        rng.integers(-1, 3, shape),
        blocks.astype(np.int32) - 1,
        (blocks * 2**61).astype(np.uint64),
        comb,
        comb[::-1, ::-1],
        np.asfortranarray(blocks.astype(">i4")),
        np.zeros(shape, np.int8),
    ]


def same(a: Components, b: Components) -> None:
    for name, x, y in zip(Components._fields, a, b, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), name


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("shape", [*SHAPES, (0, 5), (5, 0)])
def test_equal_to_the_reference(variant: str, shape: tuple[int, int], connectivity: int) -> None:
    for labels in drawn(shape, 0):
        got = connected_components(labels, connectivity, backend=variant)
        same(got, connected_components(labels, connectivity, backend="reference"))


def flooded(labels: Maps, connectivity: int) -> Components:
    """Components by flooding each from its first pixel."""
    h, w = labels.shape
    found, areas, boxes, kinds = np.zeros((h, w), np.int32), [], [], []
    steps = [
        (dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if 0 < abs(dy) + abs(dx) <= (1 if connectivity == 4 else 2)
    ]
    for y, x in np.ndindex(h, w):
        if labels[y, x] == 0 or found[y, x]:
            continue
        areas.append(0)
        waiting, pixels = deque([(y, x)]), [(y, x)]
        found[y, x] = len(areas)
        while waiting:
            i, j = waiting.popleft()
            areas[-1] += 1
            for dy, dx in steps:
                a, b = i + dy, j + dx
                if 0 <= a < h and 0 <= b < w and not found[a, b] and labels[a, b] == labels[y, x]:
                    found[a, b] = len(areas)
                    waiting.append((a, b))
                    pixels.append((a, b))
        rows, columns = zip(*pixels, strict=True)
        boxes.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
        kinds.append(labels[y, x])
    return Components(
        found, np.array(areas, np.int64), np.array(boxes, np.float64).reshape(-1, 4), np.array(kinds, labels.dtype),
        np.array([0, len(areas)], np.int64),
    )  # fmt: skip


@pytest.mark.parametrize("connectivity", [4, 8])
def test_the_reference_floods(connectivity: int) -> None:
    for shape in ((1, 1), (1, 30), (30, 1), (12, 17)):
        for labels in drawn(shape, 1):
            native = labels.astype(labels.dtype.newbyteorder("="))
            same(connected_components(labels, connectivity, backend="reference"), flooded(native, connectivity))


@pytest.mark.parametrize("connectivity", [4, 8])
def test_opencv_has_the_same_numbers(connectivity: int) -> None:
    cv2 = need("cv2")
    for shape in SHAPES:
        for labels in drawn(shape, 2)[:3]:
            count, numbers, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
                labels, connectivity, cv2.CV_32S, cv2.CCL_SAUF
            )
            got = connected_components(labels, connectivity)
            np.testing.assert_array_equal(got.map, numbers)
            np.testing.assert_array_equal(got.areas, stats[1:, cv2.CC_STAT_AREA])
            corner = stats[1:, : cv2.CC_STAT_WIDTH]
            np.testing.assert_array_equal(got.boxes[:, :2], corner)
            np.testing.assert_array_equal(got.boxes[:, 2:], corner + stats[1:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_AREA])
            assert len(got.areas) == count - 1


def test_unequal_labels_do_not_join(variant: str) -> None:
    """By hand: two labels that touch, a ring and what it holds, a spiral that closes at its end."""
    labels = np.array([[1, 1, 2, 0, 3], [0, 2, 0, 3, 0], [3, 3, 3, 0, 3]])
    eight = connected_components(labels, backend=variant)
    np.testing.assert_array_equal(eight.map, [[1, 1, 2, 0, 3], [0, 2, 0, 3, 0], [3, 3, 3, 0, 3]])
    assert (eight.areas.tolist(), eight.labels.tolist(), eight.offsets.tolist()) == ([2, 2, 6], [1, 2, 3], [0, 3])
    four = connected_components(labels, 4, backend=variant)
    np.testing.assert_array_equal(four.map, [[1, 1, 2, 0, 3], [0, 4, 0, 5, 0], [6, 6, 6, 0, 7]])
    assert four.boxes[5].tolist() == [0, 2, 3, 3]


def test_batches(variant: str) -> None:
    maps = np.stack([drawn((9, 40), seed)[1] for seed in range(5)])
    maps[2] = 0
    got = connected_components(maps, backend=variant)
    for i, one in enumerate(maps):
        single = connected_components(one, backend=variant)
        inside = slice(got.offsets[i], got.offsets[i + 1])
        parts = Components(got.map[i], got.areas[inside], got.boxes[inside], got.labels[inside], single.offsets)
        same(parts, single)
    assert got.offsets[2] == got.offsets[3]
    none = connected_components(maps[:0], backend=variant)
    assert (none.map.shape, none.offsets.tolist()) == ((0, 9, 40), [0])
    same(connected_components(maps[::2, ::-1], backend=variant), connected_components(maps[::2, ::-1].copy()))


def test_tensors() -> None:
    torch = need("torch")
    labels = drawn((9, 40), 3)[5]
    got = connected_components(torch.as_tensor(labels))
    assert all(isinstance(x, torch.Tensor) for x in got)
    assert got.map.dtype == torch.int32
    same(Components(*(x.numpy() for x in got)), connected_components(labels))
    assert connected_components([[1, 0, 1]]).areas.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("labels", "connectivity", "error", "text"),
    [
        (np.zeros(3, int), 8, ValueError, r"labels must have shape \(H, W\) or \(N, H, W\), got \(3,\)"),
        (np.zeros((2, 2)), 8, TypeError, "labels must be integers or bool, got float64"),
        (np.zeros((2, 2), int), 6, ValueError, "connectivity must be 4 or 8, got 6"),
        (np.zeros((2, 2), int), True, ValueError, "connectivity must be 4 or 8, got True"),
        (np.zeros((2, 2), int), "8", ValueError, "connectivity must be 4 or 8, got '8'"),
        (
            np.broadcast_to(np.uint8(1), (2**16, 2**15)),
            8,
            ValueError,
            r"fewer than 2\*\*31 pixels a map, got 65536 x 32768",
        ),
    ],
)
def test_errors(labels: Maps, connectivity: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"connected_components: .*{text}"):
        connected_components(labels, connectivity)


def test_the_native_function_checks_its_arrays() -> None:
    native = need("fastdet._cpp")
    for wrong in (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2), np.int8), np.zeros((1, 4, 4), np.uint8)[:, :, ::2]):
        with pytest.raises(TypeError, match="invalid labels"):
            native.connected_components(wrong, True)


# CUDA, on the emulator


@pytest.mark.emulator
@pytest.mark.parametrize("connectivity", [4, 8])
def test_cuda(emulator: Any, connectivity: int) -> None:
    """Every map of the tests, under several orders of threads, equals the reference."""
    from emulated import on_cpu, on_gpu

    for seed, shape in enumerate([(1, 1), (1, 70), (70, 1), (5, 65), (12, 40), (0, 5)]):
        for labels in drawn(shape, seed):
            native = labels.astype(labels.dtype.newbyteorder("="))
            emulator.seed(seed)
            got = on_cpu(connected_components(on_gpu(native), connectivity))
            same(got, connected_components(native, connectivity, backend="reference"))
    maps = np.stack([drawn((9, 40), seed)[1] for seed in range(4)])
    maps[2] = 0
    for seed in range(3):
        emulator.seed(seed)
        same(on_cpu(connected_components(on_gpu(maps), connectivity)), connected_components(maps, connectivity))


@pytest.mark.emulator
def test_cuda_of_one_part(emulator: Any) -> None:
    """The whole way on the emulator, for the short run of it: a spiral, whose ends meet last."""
    from emulated import on_cpu, on_gpu

    spiral = np.zeros((15, 15), np.uint8)
    for ring in range(0, 7, 2):
        spiral[ring, ring : 15 - ring] = spiral[14 - ring, ring : 15 - ring] = 1
        spiral[ring : 15 - ring, 14 - ring] = 1
        spiral[ring + 2 : 15 - ring, ring] = 1
        spiral[ring + 2, ring : ring + 2] = 1
    for connectivity in (4, 8):
        same(on_cpu(connected_components(on_gpu(spiral), connectivity)), connected_components(spiral, connectivity))
