"""Label maps that are images of Pillow. Pillow is looked up in ``sys.modules`` and never imported.

This is the one place that turns an image into class numbers: arguments of the library, files of the command and the
scripts in ``docs/examples`` all come through `pixels`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.arrays import to_array
from fastdet._core.check import Array

_GREY = {"1": np.uint8, "L": np.uint8, "LA": np.uint8, "I;16": np.uint16, "I": np.int32}
_SPREAD = {1: 255, 2: 85, 4: 17}  # Pillow shows numbers of few bits as 0 to 255


class LabelPixels(NamedTuple):
    """What a label image holds."""

    kind: str  # "grey" and "indexed" hold numbers, "rgb" holds colours
    values: Array  # (H, W) the stored numbers; of "rgb" (H, W, 3) uint8
    colours: Array | None = None  # of "indexed": (K, 3) uint8, the colour of each number
    clear: Array | None = None  # of "rgb" (H, W), of "indexed" (K,): True where it is not opaque
    spread: int = 1  # of "grey": a number times this is its grey value


def is_image(x: Any) -> bool:
    """Whether ``x`` is an image of Pillow."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(x, pillow.Image)


def label_array(op: str, name: str, x: Any) -> Any:
    """`to_array` of a label map, which may also be an image of Pillow: see `as_labels`."""
    return to_array(op, name, as_labels(op, name, x))


def as_labels(op: str, name: str, x: Any) -> Any:
    """``x``, but an image of Pillow as its class numbers (H, W), and a list of such images as (N, H, W).

    TypeError for an image that holds no numbers; ValueError where its numbers may be meant otherwise.
    """
    if isinstance(x, (list, tuple)) and x and all(map(is_image, x)):
        maps = [as_labels(op, f"{name}[{i}]", image) for i, image in enumerate(x)]
        for i, each in enumerate(maps):
            if each.shape != maps[0].shape:
                raise ValueError(
                    f"{op}: {name} must be images of one size, got {maps[0].shape} and {each.shape} at {i}"
                )
        return np.stack(maps)
    if not is_image(x):
        return x
    try:
        found = pixels(x)
    except ValueError as error:
        raise ValueError(f"{op}: {name} must be a label map: {error}") from None
    if found.kind == "rgb":
        hint = "fastdet.label_maps.read_label_map(image, palette=...) reads colours"
        raise TypeError(f"{op}: {name} must hold class numbers, got an image of mode {x.mode}: {hint}")
    return found.values


def pixels(image: Any) -> LabelPixels:
    """The numbers or colours of an image of Pillow, as they are stored. ValueError, OSError."""
    mode = image.mode
    turned = _orientation(image)
    if turned != 1:
        raise ValueError(
            f"expected pixels that are stored as they are shown, got Exif orientation {turned}: "
            "turn them with PIL.ImageOps.exif_transpose, or remove the tag"
        )
    if mode in ("P", "PA"):
        return _indexed(image)
    if mode in ("RGB", "RGBA", "RGBX"):
        clear = None
        if mode == "RGBA":
            clear = np.asarray(image)[..., 3] != 255
        elif isinstance(key := image.info.get("transparency"), tuple):
            clear = (np.asarray(image) == np.array(key)).all(2)
        return LabelPixels("rgb", np.asarray(image)[..., :3], clear=clear)
    plain = "I;16" if mode.startswith("I;16") else mode
    if plain not in _GREY:
        raise ValueError(f"expected a grey, palette or RGB image, got mode {mode}")
    tags = getattr(image, "tag_v2", None)
    if tags is not None and tags.get(262) == 0:
        raise ValueError("expected a TIFF whose 0 is black, got one whose 0 is white: save it as PNG")
    depth = _depth(image)  # before the pixels: loading an image forgets its depth
    values = np.asarray(image)
    if mode == "LA":
        if (values[..., 1] != 255).any():
            row, column = np.argwhere(values[..., 1] != 255)[0].tolist()
            raise ValueError(f"expected opaque pixels, got a transparent one at row {row}, column {column}")
        values = values[..., 0]
    if mode == "1":
        return LabelPixels("grey", values.astype(np.uint8), spread=255)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if tags is not None:
        values = _as_stored(values, tags)
    spread = _SPREAD.get(depth, 1) if mode == "L" else 1
    if depth == 0 and not np.isin(values, (0, 255)).all() and not (values % 17).any():
        raise ValueError(
            "every grey value is a multiple of 17, and a PNG of 4 bits looks so in Pillow once its file is left: "
            "pass the file's name to fastdet.label_maps.read_label_map, or numpy.asarray(image)"
        )
    return LabelPixels("grey", values // np.uint8(spread) if spread > 1 else values, spread=spread)


def _orientation(image: Any) -> int:
    """How the image's file says that its pixels are to be turned; 1: not at all."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        return int(tags.get(0x0112, 1))
    return int(image.getexif().get(0x0112, 1)) if "exif" in image.info else 1  # else a PNG would be loaded


def _indexed(image: Any) -> LabelPixels:
    values = np.asarray(image)
    if image.mode == "PA":
        if (values[..., 1] != 255).any():
            row, column = np.argwhere(values[..., 1] != 255)[0].tolist()
            raise ValueError(f"expected opaque pixels, got a transparent one at row {row}, column {column}")
        values = values[..., 0]
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    clear = np.zeros(len(colours), np.bool_)
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        alpha = np.frombuffer(transparency, np.uint8)[: len(colours)]
        clear[: len(alpha)] = alpha != 255
    elif isinstance(transparency, int) and transparency < len(colours):
        clear[transparency] = True
    return LabelPixels("indexed", values, colours, clear)


def _depth(image: Any) -> int:
    """Bits of a grey number in the image's file: 0 where nothing tells, as in a copy or a part of an image."""
    if image.format == "TIFF":
        return int(image.tag_v2.get(258, (8,))[0])
    if image.mode != "L" or image.format not in ("PNG", None):
        return 8
    if image.format is None:
        return 0
    if image.tile:
        return {"L;2": 2, "L;4": 4}.get(image.tile[0][3], 8)
    for source in (getattr(image, "_fp", None), image.filename):
        try:
            if isinstance(source, (str, bytes, os.PathLike)):
                with open(source, "rb") as file:
                    head = file.read(33)
            elif source is not None:
                at = source.tell()
                source.seek(0)
                head = source.read(33)
                source.seek(at)
            else:
                continue
        except (OSError, ValueError):  # removed, or closed
            continue
        size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        if head.startswith(b"\x89PNG\r\n\x1a\n") and size == image.size:
            return head[24]
    return 0


def _as_stored(values: Array, tags: Any) -> Array:
    """Numbers of a TIFF with the sign that its tags give: Pillow knows no signed 8-bit and no unsigned 32-bit mode."""
    bits, signed = tags.get(258, (8,))[0], tags.get(339, (1,))[0] == 2
    if bits == 8 and signed:
        return values.view(np.int8)
    return values.view(np.uint32) if bits == 32 and not signed else values
