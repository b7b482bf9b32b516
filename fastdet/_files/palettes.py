"""Colours of classes: turn colours of label maps into labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastdet._core.check import Array
from fastdet._files import text
from fastdet._files.errors import FormatError

_BAND = 1 << 20  # pixels that are looked up at a time


@dataclass(frozen=True)
class Palette:
    """The colour of each class, and the colours of void."""

    name: str
    classes: tuple[str, ...]
    colours: Array  # (C + V,) uint32, 0xRRGGBB: one for each class, then those of void

    def labels(self, rgb: Array, ignore: int | None) -> Array:
        """(H, W) labels of an (H, W, 3) uint8 image; void becomes ``ignore``. FormatError names an unknown colour.

        A colour is looked up only where it changes along a row, because label maps have long runs of one colour. Some
        rows are looked up at a time: that takes up to 60 bytes a pixel.
        """
        height, width = rgb.shape[:2]
        step = max(1, _BAND // max(1, width))
        out = np.empty((height, width), np.int64)
        for first in range(0, height, step):
            out[first : first + step] = self._of_rows(rgb[first : first + step], ignore, first)
        return out

    def _of_rows(self, rgb: Array, ignore: int | None, first: int) -> Array:
        pixels = code(rgb).reshape(-1)
        starts = np.flatnonzero(np.concatenate([[True], pixels[1:] != pixels[:-1]]))
        order = np.argsort(self.colours, kind="stable")
        rank = np.minimum(np.searchsorted(self.colours[order], pixels[starts]), len(order) - 1)
        label = order[rank].astype(np.int64)
        known = self.colours[label] == pixels[starts]
        void = label >= len(self.classes)
        bad = ~known if ignore is not None else ~known | void
        if bad.any():
            at = int(np.argmax(bad))
            row, column = divmod(int(starts[at]), rgb.shape[1])
            red, green, blue = rgb[row, column].tolist()
            void_hint = "is void in the palette: use --ignore to give the label of void"
            what = void_hint if known[at] else f"is not in the palette {self.name}"
            raise FormatError(f"colour {red} {green} {blue} at row {first + row}, column {column} {what}")
        label[void] = 0 if ignore is None else ignore
        runs = np.diff(np.concatenate([starts, [len(pixels)]]))
        return np.repeat(label, runs).reshape(rgb.shape[:2])


def code(rgb: Array) -> Array:
    """(...,) uint32 0xRRGGBB of colours (..., 3) uint8."""
    wide = rgb.astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def load(name: str) -> Palette:
    """A built-in palette by name, or a palette from a file. FormatError, OSError."""
    if name in _BUILT_IN:
        return _palette(name, name, _BUILT_IN[name])
    path = Path(name)
    if not path.is_file():
        what = "no such file" if not path.exists() else "a folder or device"
        raise FormatError(f"miou: palette must be one of {', '.join(_BUILT_IN)} or a file, got {name}, {what}")
    return _palette(name, path.name, text.read_text(name, "names", "lines of text 'R G B name'"))


def _palette(source: str, name: str, content: str) -> Palette:
    """Read lines ``R G B [name]``, the classes in order. The name "void" marks a void colour; # starts a comment."""
    classes: list[str] = []
    colours: list[int] = []
    void: list[int] = []
    seen: dict[int, int] = {}
    for number, line in enumerate(text.lines_of(content), 1):
        words = line.partition("#")[0].replace(",", " ").split(maxsplit=3)
        if not words:
            continue
        where = f"{source}: line {number}"
        if len(words) < 3 or not all(w.isascii() and w.isdigit() and len(w) < 4 and int(w) < 256 for w in words[:3]):
            raise FormatError(f"{where}: expected R G B [name], numbers from 0 to 255, got {line.strip()[:60]!r}")
        red, green, blue = map(int, words[:3])
        colour = red << 16 | green << 8 | blue
        if colour in seen:
            raise FormatError(f"{where}: expected unique colours, got {red} {green} {blue} as in line {seen[colour]}")
        seen[colour] = number
        title = words[3].strip() if len(words) == 4 else str(len(classes))
        if title.lower() == "void":
            void.append(colour)
        else:
            classes.append(title)
            colours.append(colour)
    if not classes:
        raise FormatError(f"{source}: expected lines R G B [name], one for each class, got none")
    return Palette(name, tuple(classes), np.array(colours + void, np.uint32))


# The 19 evaluated classes of Cityscapes, in the order of trainIds; its other classes are void. Two of them share the
# colour of an evaluated class and count as that class: polegroup as pole, license plate as car.
_CITYSCAPES = """
128 64 128 road
244 35 232 sidewalk
70 70 70 building
102 102 156 wall
190 153 153 fence
153 153 153 pole
250 170 30 traffic light
220 220 0 traffic sign
107 142 35 vegetation
152 251 152 terrain
70 130 180 sky
220 20 60 person
255 0 0 rider
0 0 142 car
0 0 70 truck
0 60 100 bus
0 80 100 train
0 0 230 motorcycle
119 11 32 bicycle
0 0 0 void
111 74 0 void
81 0 81 void
250 170 160 void
230 150 140 void
180 165 180 void
150 100 100 void
150 120 90 void
0 0 90 void
0 0 110 void
"""

_VOC = """
0 0 0 background
128 0 0 aeroplane
0 128 0 bicycle
128 128 0 bird
0 0 128 boat
128 0 128 bottle
0 128 128 bus
128 128 128 car
64 0 0 cat
192 0 0 chair
64 128 0 cow
192 128 0 dining table
64 0 128 dog
192 0 128 horse
64 128 128 motorbike
192 128 128 person
0 64 0 potted plant
128 64 0 sheep
0 192 0 sofa
128 192 0 train
0 64 128 tv monitor
224 224 192 void
"""

# The 11 classes and colours of SegNet's CamVid.
_CAMVID = """
128 128 128 sky
128 0 0 building
192 192 128 pole
128 64 128 road
60 40 222 pavement
128 128 0 tree
192 128 128 sign symbol
64 64 128 fence
64 0 128 car
64 64 0 pedestrian
0 128 192 bicyclist
0 0 0 void
"""

_BUILT_IN = {"cityscapes": _CITYSCAPES, "voc": _VOC, "camvid": _CAMVID}
