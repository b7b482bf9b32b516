"""Label maps as files, for tests of `fastdet miou`."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastdet.segmentation import SegmentationMetrics

Labels = dict[str, np.ndarray[Any, Any]]


def png(rows: Any, depth: int = 8, kind: int = 0, palette: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """A PNG of any bit depth from (H, W) or (H, W, samples) numbers; ``size``: a wrong (H, W) in its header."""
    x = np.asarray(rows)
    bits = x.reshape(len(x), -1).astype(">u2" if depth == 16 else np.uint8)
    lines = (
        bits.view(np.uint8)
        if depth >= 8
        else np.packbits(np.unpackbits(bits[..., None], axis=2)[..., -depth:].reshape(len(x), -1), axis=1)
    )
    height, width = size or x.shape[:2]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    colours = chunk(b"PLTE", palette) if palette else b""
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    return b"\x89PNG\r\n\x1a\n" + header + colours + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def scene(count: int = 4, classes: int = 4, seed: int = 0, shape: tuple[int, int] = (12, 17)) -> tuple[Labels, Labels]:
    rng = np.random.default_rng(seed)
    truth, guess = {}, {}
    for i in range(count):
        target = rng.integers(0, classes, shape, dtype=np.uint8)
        truth[f"im{i}"] = target
        guess[f"im{i}"] = np.where(rng.random(shape) < 0.7, target, rng.integers(0, classes, shape)).astype(np.uint8)
    return truth, guess


def folder(path: Path, maps: Labels, **options: Any) -> Path:
    path.mkdir()
    for name, labels in maps.items():
        (path / f"{name}.png").write_bytes(png(labels, **options))
    return path


def figures(truth: Labels, guess: Labels, classes: int = 4, **options: Any) -> dict[str, Any]:
    metrics = SegmentationMetrics(classes, per_image=True, **options)
    for name in sorted(truth):
        metrics.update(guess[name], truth[name])
    return metrics.compute()


def agree(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got["confusion_matrix"] == want["confusion_matrix"].tolist()
    assert got["mean_iou"] == want["mean_iou"]
    assert got["images"] == want["images"]
