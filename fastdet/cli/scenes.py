"""The made-up streets of ``fastdet demo``: people, cars, bicycles and dogs, often so close that they hide each other.

A seed gives the objects of a scene. Its picture is painted from simple shapes with soft edges, in NumPy, at any scale.
``docs/examples/train_demo.py`` trains a detector on such pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array

NAMES = ("person", "car", "bicycle", "dog")
SIZE = (128, 192)  # height and width of a scene, pixels

_SIDES = ((22, 60), (62, 31), (46, 32), (29, 23))  # width and height of each class at the lower edge of the scene
_HORIZON, _KERB = 70, 82  # y where the buildings end, and where the road begins
_HIDDEN = 0.7  # the largest part of a box that other boxes may cover

_COATS = ("#8f6f78", "#76808f", "#a08a6b", "#6f8a80", "#94788f", "#b07d62")
_BODIES = ("#8fa3b8", "#b3a08f", "#9aa892", "#a796ad", "#c2b36f")
_FRAMES = ("#4d5560", "#5f6d58", "#7a4f4f")
_FURS = ("#9c7b5b", "#7d6a5a", "#b59b7d", "#5b5148")
_WALLS = ("#cfd3dc", "#d9d2cb", "#c9d3d2", "#d6cdd4")


class Scene(NamedTuple):
    """The objects of a street, from the back to the front."""

    boxes: Array  # (M, 4) float32, x1 y1 x2 y2, pixels
    labels: Array  # (M,) int64


def make(seed: int) -> Scene:
    """Make three to six groups of one to four objects of a class, at random distances."""
    rng = np.random.default_rng(seed)
    boxes: list[Array] = []
    labels: list[int] = []
    for _ in range(rng.integers(3, 7)):
        label = int(rng.choice(len(NAMES), p=(0.4, 0.25, 0.2, 0.15)))
        x, ground = rng.uniform(0, SIZE[1]), rng.uniform(_KERB + 2, SIZE[0])
        for _ in range(rng.integers(1, 5)):
            depth = 0.55 + 0.45 * (ground - _KERB) / (SIZE[0] - _KERB)
            width, height = np.array(_SIDES[label]) * depth * rng.uniform(0.88, 1.12, 2)
            boxes.append(np.round(np.array([x - width / 2, ground - height, x + width / 2, ground]) * 8) / 8)
            labels.append(label)
            x += rng.choice((-1, 1), p=(0.25, 0.75)) * rng.uniform(0.25, 1.2) * width
            ground += rng.uniform(-3, 3)
    corners = np.array(boxes, np.float32)
    order = np.argsort(corners[:, 3], kind="stable")
    order = order[_seen(corners[order])]
    return Scene(corners[order], np.array(labels, np.int64)[order])


def _seen(boxes: Array) -> list[int]:
    """Indices of the boxes that lie inside the scene and are covered by at most `_HIDDEN` by boxes in front."""
    taken = np.zeros(SIZE, bool)
    seen = []
    for i in reversed(range(len(boxes))):
        x1, y1, x2, y2 = np.rint(boxes[i]).astype(int)
        inside = boxes[i, 0] >= 0 and boxes[i, 2] <= SIZE[1] and boxes[i, 3] <= SIZE[0]
        if inside and taken[y1:y2, x1:x2].mean() <= _HIDDEN:
            taken[y1:y2, x1:x2] = True
            seen.append(i)
    return seen[::-1]


def draw(scene: Scene, seed: int, scale: int = 1) -> Array:
    """Draw a scene.

    Parameters
    ----------
    scene : its objects
    seed : decides the houses and all colours
    scale : pixels of the picture per pixel of the scene

    Returns
    -------
    image : (128 * scale, 192 * scale, 3) uint8
    """
    rng = np.random.default_rng([seed, 1])
    canvas = _Canvas(scale)
    height, width = SIZE
    canvas.rectangle((0, 0, width, _HORIZON), "#dcebf5")
    x = -float(rng.uniform(0, 20))
    while x < width:  # houses with windows
        side, top = (float(v) for v in rng.uniform((20, 4), 34))
        canvas.rectangle((x, top, x + side, _HORIZON), str(rng.choice(_WALLS)))
        for row in np.arange(top + 4, _HORIZON - 10, 9).tolist():
            for column in np.arange(x + 4, x + side - 5, 7).tolist():
                canvas.rectangle((column, row, column + 3, row + 4.5), "#eef3f7" if rng.random() < 0.75 else "#fdf0c4")
        x += side
    canvas.rectangle((0, _HORIZON, width, _KERB), "#d5d2cc")
    canvas.rectangle((0, _KERB - 1, width, _KERB), "#aeaba5")
    canvas.rectangle((0, _KERB, width, height), "#a3a8ae")
    for x in np.arange(-rng.uniform(0, 30), width, 30).tolist():
        canvas.polygon([(x, 104), (x + 16, 104), (x + 15, 106), (x - 1, 106)], "#eceff1")
    for (x1, y1, x2, y2), label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True):
        (_person, _car, _bicycle, _dog)[label](canvas, x1, y1, x2 - x1, y2 - y1, rng)
    return canvas.image(rng.uniform(0.9, 1.05))


def _person(canvas: _Canvas, x: float, y: float, w: float, h: float, rng: Any) -> None:
    coat, middle, head = str(rng.choice(_COATS)), x + w / 2, 0.095 * h
    for side in (-0.26, 0.04):
        at = middle + side * w
        canvas.rectangle((at, y + 0.5 * h, at + 0.22 * w, y + h), "#565d69", 0.06 * w, edge=True)
    canvas.rectangle((x, y + 0.2 * h, x + w, y + 0.62 * h), coat, 0.3 * w, edge=True)
    canvas.disc(middle, y + head, head, "#e6c3a5", edge=True)


def _car(canvas: _Canvas, x: float, y: float, w: float, h: float, rng: Any) -> None:
    body, turn = str(rng.choice(_BODIES)), rng.random() < 0.5
    for colour, outline in (
        (body, ((0.14, 0.46), (0.27, 0.0), (0.70, 0.0), (0.86, 0.46))),
        ("#e3edf3", ((0.22, 0.43), (0.31, 0.10), (0.66, 0.10), (0.77, 0.43))),
    ):
        corners = outline[::-1] if turn else outline
        canvas.polygon([(x + (1 - u if turn else u) * w, y + v * h) for u, v in corners], colour, edge=True)
    canvas.rectangle((x, y + 0.4 * h, x + w, y + 0.83 * h), body, 0.13 * h, edge=True)
    for u in (0.22, 0.78):
        canvas.disc(x + u * w, y + 0.8 * h, 0.2 * h, "#41464e", edge=True)
        canvas.disc(x + u * w, y + 0.8 * h, 0.08 * h, "#c9ced4")


def _bicycle(canvas: _Canvas, x: float, y: float, w: float, h: float, rng: Any) -> None:
    colour, r, line = str(rng.choice(_FRAMES)), 0.5 * min(0.62 * h, 0.46 * w), 0.045 * h
    left, right, hub = x + r, x + w - r, y + h - r
    for wheel in (left, right):
        canvas.ring(wheel, hub, r - line / 2, line, colour)
    seat, crank, bar = (x + 0.36 * w, y + 0.12 * h), (x + 0.46 * w, hub), (x + 0.70 * w, y + 0.06 * h)
    back, front = (left, hub), (right, hub)
    for a, b in ((back, seat), (back, crank), (seat, crank), (seat, bar), (crank, bar), (bar, front)):
        canvas.line(a, b, line, colour)
    canvas.line((seat[0] - 0.07 * w, seat[1]), (seat[0] + 0.07 * w, seat[1]), 2 * line, "#333940")
    canvas.line((bar[0] - 0.05 * w, bar[1]), (bar[0] + 0.05 * w, bar[1]), 2 * line, "#333940")


def _dog(canvas: _Canvas, x: float, y: float, w: float, h: float, rng: Any) -> None:
    fur, turn = str(rng.choice(_FURS)), rng.random() < 0.5

    def at(u: float) -> float:
        return x + (1 - u if turn else u) * w

    for u in (0.19, 0.33, 0.61, 0.73):
        canvas.rectangle((at(u) - 0.045 * w, y + 0.6 * h, at(u) + 0.045 * w, y + h), fur, 0.03 * w, edge=True)
    sides = sorted((at(0.12), at(0.80)))
    canvas.rectangle((sides[0], y + 0.36 * h, sides[1], y + 0.72 * h), fur, 0.15 * h, edge=True)
    canvas.line((at(0.16), y + 0.44 * h), (at(0.035), y + 0.14 * h), 0.07 * w, fur)
    canvas.disc(at(0.8), y + 0.25 * h, 0.25 * h, fur, edge=True)
    canvas.rectangle((min(at(0.8), at(1)), y + 0.24 * h, max(at(0.8), at(1)), y + 0.42 * h), fur, 0.06 * h)


class _Canvas:
    """Paints shapes. A shape is a function that gives the distance of a point outside of it, in pixels of the scene."""

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.pixels = np.zeros((SIZE[0] * scale, SIZE[1] * scale, 3), np.float32)

    def image(self, light: float) -> Array:
        image: Array = np.rint(np.clip(self.pixels * light, 0, 255)).astype(np.uint8)
        return image

    def rectangle(self, box: Sequence[float], colour: str, radius: float = 0, edge: bool = False) -> None:
        """A rectangle with round corners. ``edge``: a thin white line just inside."""
        x1, y1, x2, y2 = box
        radius = min(radius, (x2 - x1) / 2, (y2 - y1) / 2)

        def outside(x: Array, y: Array) -> Array:
            dx = np.abs(x - (x1 + x2) / 2) - (x2 - x1) / 2 + radius
            dy = np.abs(y - (y1 + y2) / 2) - (y2 - y1) / 2 + radius
            far = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
            return far + np.minimum(np.maximum(dx, dy), 0) - radius

        self._paint(box, outside, colour, edge)

    def disc(self, x: float, y: float, r: float, colour: str, edge: bool = False) -> None:
        self.rectangle((x - r, y - r, x + r, y + r), colour, r, edge)

    def ring(self, cx: float, cy: float, r: float, width: float, colour: str) -> None:
        def outside(x: Array, y: Array) -> Array:
            return np.abs(np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - r) - width / 2

        reach = r + width / 2
        self._paint((cx - reach, cy - reach, cx + reach, cy + reach), outside, colour)

    def line(self, a: tuple[float, float], b: tuple[float, float], width: float, colour: str) -> None:
        """A line with round ends that reach beyond a and b."""
        (ax, ay), (bx, by), r = a, b, width / 2
        ux, uy = bx - ax, by - ay

        def outside(x: Array, y: Array) -> Array:
            along = np.clip(((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy), 0, 1)
            return np.sqrt((x - ax - along * ux) ** 2 + (y - ay - along * uy) ** 2) - r

        self._paint((min(ax, bx) - r, min(ay, by) - r, max(ax, bx) + r, max(ay, by) + r), outside, colour)

    def polygon(self, points: Sequence[tuple[float, float]], colour: str, edge: bool = False) -> None:
        """A convex polygon. Its points go clockwise on the screen."""
        corners = np.array(points)
        sides = np.roll(corners, -1, 0) - corners
        normals = np.stack([sides[:, 1], -sides[:, 0]], 1) / np.sqrt((sides**2).sum(1))[:, None]

        def outside(x: Array, y: Array) -> Array:
            each = [(x - cx) * nx + (y - cy) * ny for (cx, cy), (nx, ny) in zip(corners, normals, strict=True)]
            return np.maximum.reduce(each)

        self._paint((*corners.min(0).tolist(), *corners.max(0).tolist()), outside, colour, edge)

    def _paint(self, box: Sequence[float], outside: Any, colour: str, edge: bool = False) -> None:
        x1, y1, x2, y2 = (int(np.floor(v * self.scale)) for v in box)
        window = (slice(max(y1, 0), max(y2 + 1, 0)), slice(max(x1, 0), max(x2 + 1, 0)))
        part = self.pixels[window]
        if not part.size:
            return
        y = (np.arange(part.shape[0], dtype=np.float32)[:, None] + window[0].start + 0.5) / self.scale
        x = (np.arange(part.shape[1], dtype=np.float32) + window[1].start + 0.5) / self.scale
        away = outside(x, y)
        paint = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        for colour_of, start in ((np.full(3, 255, np.float32), 0.0), (paint, 0.4)) if edge else ((paint, 0.0),):
            share = np.clip(0.5 - (away + start) * self.scale, 0, 1)[..., None]
            part += share * (colour_of - part)
