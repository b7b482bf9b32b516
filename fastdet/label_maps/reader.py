"""`read_label_map`: the class numbers of one label map."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet._core.label_images import LabelPixels, is_image, pixels
from fastdet._files import label_images, label_rules, label_tables, palettes
from fastdet._files.errors import FormatError, missing
from fastdet._files.label_rules import Rules, Side

_OP = "read_label_map"


def read_label_map(
    source: Any,
    *,
    palette: str | os.PathLike[str] | None = None,
    mapping: str | os.PathLike[str] | Mapping[int, int | None] | None = None,
    ignore_index: int | Sequence[int] | None = None,
    grey: str | None = None,
) -> Array:
    """The class number of each pixel of a label map.

    Parameters
    ----------
    source : a file (PNG, TIFF, BMP or NPY), an image of Pillow, or an array: (H, W) integers, or (H, W, 3) uint8
        colours. Grey images hold the numbers that are stored, of any bit depth; palette images too, unless
        ``palette`` is given
    palette : what colours mean, in RGB and in palette images: "cityscapes", "voc", "camvid", or a file of lines
        "R G B name", the classes in order; lines named void are colours of void
    mapping : what stored numbers mean: "cityscapes" (ids to the 19 trainIds), "ade20k" (1 to 150 become 0 to 149),
        "mask" (0 and 255 become 0 and 1, and so do 0 and 1), text such as "0:0,255:1", a file, or a dict from numbers
        to classes, None for void. A number without a row is an error, unless there is a row "other"
    ignore_index : the label that void gets; of several, all become the first
    grey : "labels" or "colours": what grey values are where ``palette`` is given and both are possible

    Returns
    -------
    (H, W) integers. uint8 and other dtypes stay as they are stored where nothing is looked up; else int64

    Raises
    ------
    FormatError  a damaged file; a number or colour that means nothing; void without ignore_index (a ValueError)
    TypeError    type of an argument
    OSError      the file cannot be read

    Notes
    -----
    Files need Pillow, except NPY. Text and colour profiles of a PNG are passed over, however large. TIFF and BMP: one
    page, no lossy compression; a TIFF in which 0 is white is refused, since readers disagree about its numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.label_maps import read_label_map
    >>> read_label_map(np.array([[7, 26], [0, 33]]), mapping="cityscapes", ignore_index=255)
    array([[  0,  13],
           [255,  18]])
    >>> colours = np.array([[[128, 0, 0], [0, 0, 0]]], np.uint8)
    >>> read_label_map(colours, palette="voc")
    array([[1, 0]])
    """
    if grey is not None:
        check.choice(_OP, "grey", grey, ("labels", "colours"))
    side = Side()
    if palette is not None and not isinstance(palette, (str, os.PathLike)):
        raise TypeError(f"{_OP}: palette must be a name or a file, got {check.describe(palette)}")
    try:
        ignore, table = _ignored(ignore_index), _table(mapping)
        colours = None if palette is None else palettes.load(os.fspath(palette))
        rules = Rules(colours, None if table is None else table.with_void(ignore), ignore, grey)
        found, name = _found(source)
        labels = label_rules.labels(found, rules, side, name)
        if text := label_rules.doubt(side, _OP):
            raise FormatError(text.removeprefix("miou: "))
    except FormatError as error:
        text = str(error)
        for option, argument in _ARGUMENTS.items():
            text = text.replace(option, argument)
        where = f"{os.fspath(source)}: " if isinstance(source, (str, os.PathLike)) else ""
        said = text.removeprefix("miou: ").removeprefix(f"{_OP}: ").removeprefix(where)
        raise FormatError(f"{_OP}: {where}{said}") from None
    return labels


_ARGUMENTS = {
    "use --palette to name": "palette names",
    "use --ignore to give": "ignore_index is",
    "--indexed labels": "leave palette out",
    "--grey colours": "grey='colours'",
    "--grey labels": "grey='labels'",
    "--ignore": "ignore_index",
    "map must be": "mapping must be",
}


def _found(source: Any) -> tuple[LabelPixels, str]:
    """What a source holds, and how an error calls it. FormatError, OSError, TypeError."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise missing(path)
        if path.suffix.lower() not in label_images.SUFFIXES:
            raise FormatError(f"expected a file of {', '.join(label_images.SUFFIXES)}, got {path.name}")
        if path.suffix.lower() != ".npy":
            label_images.need_pillow()
        label_images.size(path, colours=True)
        return label_images.read(path), path.name
    if is_image(source):
        try:
            return pixels(source), f"an image of mode {source.mode}"
        except ValueError as error:
            raise FormatError(str(error)) from None
    array = to_numpy(_OP, "source", source)
    if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8:
        return LabelPixels("rgb", array), "the array"
    if array.ndim != 2 or array.dtype.kind not in "biu":
        want = "(H, W) integers, or (H, W, 3) uint8 colours"
        raise TypeError(f"{_OP}: source must be {want}, got {array.dtype} {array.shape}")
    return LabelPixels("number", array.view(np.uint8) if array.dtype.kind == "b" else array), "the array"


def _table(mapping: Any) -> label_tables.LabelTable | None:
    if mapping is None:
        return None
    if isinstance(mapping, (str, os.PathLike)):
        return label_tables.load(os.fspath(mapping))
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{_OP}: mapping must be a name, a file or a dict, got {check.describe(mapping)}")
    return label_tables.of_pairs("mapping", [(a, "void" if b is None else b) for a, b in mapping.items()])


def _ignored(x: Any) -> tuple[int, ...]:
    values = () if x is None else tuple(x) if isinstance(x, (list, tuple, set)) else (x,)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{_OP}: ignore_index must be an integer or several, got {check.describe(x)}")
    return tuple(dict.fromkeys(int(value) for value in values))
