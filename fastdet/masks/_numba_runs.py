"""Numba kernels of run lengths: dense masks, measures, the boundary, COCO's texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit, plain
from fastdet.masks.rle import Counts, Ints, rle_from_strings_reference


def encode(masks: Array) -> tuple[Counts, Ints] | None:
    n, height, width = masks.shape
    rows = masks.flags.c_contiguous
    flat = plain(masks if rows else masks.transpose(0, 2, 1)).reshape(-1)
    down, across = (width, 1) if rows else (1, height)
    offsets = np.zeros(n + 1, np.int64)
    if not _count_turns(flat, height, width, down, across, offsets):
        return None
    counts = np.zeros(int(offsets[-1]), np.uint32)
    # where the masks have changed since the first pass, the runs are cut
    _put_turns(flat, height, width, down, across, offsets, counts)
    return counts, offsets


@jit
def _count_turns(flat: Array, height: int, width: int, down: int, across: int, offsets: Ints) -> bool:
    """Where the runs of each mask start; False where a value is above 1."""
    pixels = height * width
    for i in range(len(offsets) - 1):
        before, turns = 0, 1
        for x in range(width):
            for y in range(height):
                value = flat[i * pixels + y * down + x * across]
                if value > 1:
                    return False
                turns += value != before
                before = value
        offsets[i + 1] = offsets[i] + turns
    return True


@jit
def _put_turns(flat: Array, height: int, width: int, down: int, across: int, offsets: Ints, counts: Counts) -> None:
    pixels = height * width
    for i in range(len(offsets) - 1):
        at, before, run = offsets[i], 0, 0
        for x in range(width):
            for y in range(height):
                value = flat[i * pixels + y * down + x * across]
                if value != before and at < offsets[i + 1] - 1:
                    counts[at] = run
                    at, run = at + 1, 0
                before = value
                run += 1
        counts[offsets[i + 1] - 1] = run


def decode(counts: Counts, offsets: Ints, out: Array, columns: bool) -> None:
    height, width = out.shape[:0:-1] if columns else out.shape[1:]
    down, across = (1, height) if columns else (width, 1)
    _decode(plain(counts), plain(offsets), height, height * width, down, across, out.reshape(-1))


@jit
def _decode(counts: Counts, offsets: Ints, height: int, pixels: int, down: int, across: int, out: Array) -> None:
    for i in range(len(offsets) - 1):
        at: Any = np.int64(0)
        for k in range(offsets[i], offsets[i + 1]):
            end: Any = min(at + np.int64(counts[k]), pixels)
            if (k - offsets[i]) % 2 and end > at:
                x, y = at // height, at % height
                for _ in range(at, end):
                    out[i * pixels + y * down + x * across] = 1
                    y += 1
                    if y == height:
                        x, y = x + 1, 0
            at = end


def rle_area(counts: Counts, offsets: Ints) -> Ints:
    out = np.zeros(len(offsets) - 1, np.int64)
    _area(plain(counts), plain(offsets), out)
    return out


@jit
def _area(counts: Counts, offsets: Ints, out: Ints) -> None:
    for i in range(len(out)):
        for k in range(offsets[i] + 1, offsets[i + 1], 2):
            out[i] += np.int64(counts[k])


def rle_boxes(counts: Counts, offsets: Ints, sizes: Ints) -> Array:
    boxes = np.zeros((len(sizes), 4))
    _boxes(plain(counts), plain(offsets), plain(sizes), boxes)
    return boxes


@jit
def _boxes(counts: Counts, offsets: Ints, sizes: Ints, boxes: Array) -> None:
    for i in range(len(sizes)):
        height, at = max(sizes[i, 0], 1), np.int64(0)
        x1, y1, x2, y2 = np.int64(-1), height, np.int64(0), np.int64(0)
        for k in range(offsets[i], offsets[i + 1]):
            end = at + np.int64(counts[k])
            if (k - offsets[i]) % 2 and end > at:
                first, x2 = at // height, (end - 1) // height
                x1 = first if x1 < 0 else x1
                if first < x2:
                    y1, y2 = 0, height
                y1, y2 = min(y1, at - first * height), max(y2, end - x2 * height)
            at = end
        if x1 >= 0:
            boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = x1, y1, x2 + 1, y2


def rle_merge(counts: Counts, offsets: Ints, least: int) -> Counts:
    places, ends, pixels = _turns(plain(counts), plain(offsets))
    order = np.argsort(places, kind="stable")
    out: Counts = _merged(places[order], ends[order], pixels, least)
    return out


@jit
def _turns(counts: Counts, offsets: Ints) -> tuple[Ints, Ints, Any]:
    """Where runs of ones start, 1, and end, -1; the pixels of a mask."""
    places, steps = np.empty(len(counts) + 1, np.int64), np.empty(len(counts) + 1, np.int64)
    n, pixels = 0, np.int64(0)
    for i in range(len(offsets) - 1):
        at = np.int64(0)
        for k in range(offsets[i], offsets[i + 1]):
            end = at + np.int64(counts[k])
            if (k - offsets[i]) % 2 and end > at:
                places[n], steps[n], places[n + 1], steps[n + 1] = at, 1, end, -1
                n += 2
            at = end
        pixels = max(pixels, at)
    return places[:n], steps[:n], pixels


@jit
def _merged(places: Ints, steps: Ints, pixels: int, least: int) -> Counts:
    out = np.empty(len(places) + 1, np.uint32)
    n, k, depth, last, inside = 0, 0, 0, np.int64(0), False
    while k < len(places):
        place = places[k]
        while k < len(places) and places[k] == place:
            depth += steps[k]
            k += 1
        if (depth >= least) != inside:
            inside = not inside
            out[n] = place - last
            n, last = n + 1, place
    if last < pixels or n == 0:
        out[n] = pixels - last
        n += 1
    return out[:n]


def mask_iou(
    counts1: Counts,
    offsets1: Ints,
    counts2: Counts,
    offsets2: Ints,
    sizes1: Ints,
    sizes2: Ints,
    crowd: Array,
    metric: str,
) -> Array:
    out = np.zeros((len(sizes1), len(sizes2)))
    boxes = rle_boxes(counts1, offsets1, sizes1), rle_boxes(counts2, offsets2, sizes2)
    areas = rle_area(counts1, offsets1), rle_area(counts2, offsets2)
    a, b = (plain(counts1), plain(offsets1)), (plain(counts2), plain(offsets2))
    _overlaps(*a, *b, *boxes, *areas, plain(crowd), metric == "ios", out)
    return out


@jit
def _overlaps(
    counts1: Counts,
    offsets1: Ints,
    counts2: Counts,
    offsets2: Ints,
    boxes1: Array,
    boxes2: Array,
    areas1: Ints,
    areas2: Ints,
    crowd: Array,
    smaller: bool,
    out: Array,
) -> None:
    for i in range(len(boxes1)):
        for k in range(len(boxes2)):
            a, b = boxes1[i], boxes2[k]
            if not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]):
                continue
            inter = common(counts1[offsets1[i] : offsets1[i + 1]], counts2[offsets2[k] : offsets2[k + 1]])
            if inter == 0:
                continue
            whole = min(areas1[i], areas2[k]) if smaller else areas1[i] + areas2[k] - inter
            out[i, k] = inter / (areas1[i] if crowd[k] else whole)


@jit
def common(a: Counts, b: Counts) -> Any:
    """How many pixels two masks have in common."""
    i, k, inter, at = 0, 0, np.int64(0), np.int64(0)
    end_a = np.int64(a[0]) if len(a) else np.int64(0)
    end_b = np.int64(b[0]) if len(b) else np.int64(0)
    while i < len(a) and k < len(b):
        end = min(end_a, end_b)
        if i % 2 and k % 2:
            inter += end - at
        at = end
        if end_a == end:
            i += 1
            end_a += np.int64(a[i]) if i < len(a) else 0
        if end_b == end:
            k += 1
            end_b += np.int64(b[k]) if k < len(b) else 0
    return inter


def rle_boundary(counts: Counts, offsets: Ints, sizes: Ints, widths: Ints) -> tuple[Counts, Ints]:
    boxes = rle_boxes(counts, offsets, sizes).astype(np.int64)
    made, bounds = [np.zeros(0, np.uint32)], [0]
    for i, (height, width) in enumerate(sizes.tolist()):
        runs = plain(counts[offsets[i] : offsets[i + 1]])
        made.append(_boundary(runs, boxes[i], height, height * width, min(int(widths[i]), max(height, width))))
        bounds.append(bounds[-1] + len(made[-1]))
    return np.concatenate(made), np.array(bounds, np.int64)


@jit
def _boundary(runs: Counts, box: Ints, height: int, pixels: int, d: int) -> Counts:
    """Column by column: a pixel is within where 2 d + 1 columns next to each other have it, eroded downwards."""
    starts, ends = _whole_runs(runs)
    out = np.empty(4 * len(runs) + 4 + 4 * (box[2] - box[0]), np.uint32)
    # in how many columns, one after the other up to this one, a row is within; and the column that is written
    within, column = np.zeros(height, np.int64), np.zeros(height, np.uint8)
    last: Any = 0
    n, before, first, first_whole = 0, 0, 0, 0
    for x in range(box[0], box[2] + d):
        first = _eroded(starts, ends, first, x * height, height, d, within)
        done = x - d
        if done < box[0]:
            continue
        first_whole = _column(starts, ends, first_whole, done * height, height, column)
        for y in range(height):
            value = column[y] and within[y] <= 2 * d
            if value != before:
                if n == len(out):
                    out = np.concatenate((out, out))
                out[n] = done * height + y - last
                n, last, before = n + 1, done * height + y, value
    if n + 2 > len(out):
        out = np.concatenate((out, out))
    if before and box[2] * height < pixels:
        out[n] = box[2] * height - last
        n, last = n + 1, box[2] * height
    if last < pixels or n == 0:
        out[n] = pixels - last
        n += 1
    return out[:n]


@jit
def _whole_runs(runs: Counts) -> tuple[Ints, Ints]:
    """Runs of ones, none of them next to another."""
    starts, ends = np.empty(len(runs), np.int64), np.empty(len(runs), np.int64)
    n, at = 0, np.int64(0)
    for k in range(len(runs)):
        end = at + np.int64(runs[k])
        if k % 2 and end > at:
            if n and ends[n - 1] == at:
                ends[n - 1] = end
            else:
                starts[n], ends[n] = at, end
                n += 1
        at = end
    return starts[:n], ends[:n]


@jit
def _column(starts: Ints, ends: Ints, first: int, top: int, height: int, column: Array) -> int:
    """Write a column of a mask; the first run that may reach the next one."""
    column[:] = 0
    while first < len(starts) and starts[first] < top + height:
        column[max(starts[first] - top, 0) : max(min(ends[first] - top, height), 0)] = 1
        if ends[first] > top + height:
            break
        first += 1
    return first


@jit
def _eroded(starts: Ints, ends: Ints, first: int, top: int, height: int, d: int, within: Ints) -> int:
    """Count a column in ``within``: one more where it is within its run by d pixels, else 0."""
    row = 0
    while first < len(starts) and starts[first] < top + height:
        low, high = max(starts[first] - top, 0) + d, min(ends[first] - top, height) - d
        if high > low:
            within[row:low] = 0
            for y in range(low, high):
                within[y] += 1
            row = high
        if ends[first] > top + height:
            break
        first += 1
    within[row:] = 0
    return first


def rle_to_strings(counts: Counts, offsets: Ints) -> list[bytes]:
    text, bounds = np.empty(7 * len(counts), np.uint8), np.zeros(len(offsets), np.int64)
    _write(plain(counts), plain(offsets), text, bounds)
    whole = text.tobytes()
    return [whole[first:last] for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]


@jit
def _write(counts: Counts, offsets: Ints, text: Array, bounds: Ints) -> None:
    n = 0
    for i in range(len(offsets) - 1):
        for k in range(offsets[i], offsets[i + 1]):
            x = np.int64(counts[k])
            if k - offsets[i] > 2:
                x -= np.int64(counts[k - 2])
            more = True
            while more and n < len(text):
                bits = x & 31
                x >>= 5
                more = x != -1 if bits & 16 else x != 0
                text[n] = bits + (32 if more else 0) + 48
                n += 1
        bounds[i + 1] = n


def rle_from_strings(texts: list[bytes]) -> tuple[Counts, Ints] | tuple[str, int]:
    text = np.frombuffer(b"".join(texts), np.uint8).copy()
    bounds = np.concatenate([[0], np.cumsum([len(x) for x in texts])]).astype(np.int64)
    counts, offsets = np.empty(len(text), np.uint32), np.zeros(len(texts) + 1, np.int64)
    n = _read(text, bounds, counts, offsets)
    if n < 0:
        return rle_from_strings_reference(texts)  # says what is wrong
    return counts[:n].copy(), offsets


@jit
def _read(text: Array, bounds: Ints, counts: Counts, offsets: Ints) -> int:
    """How many runs there are; -1 where a text is wrong."""
    n = 0
    for i in range(len(bounds) - 1):
        at = bounds[i]
        while at < bounds[i + 1]:
            x: Any = np.int64(0)
            shift, bits = 0, 32
            while bits & 32:
                if at == bounds[i + 1] or text[at] < 48 or text[at] >= 112 or shift > 30:
                    return -1
                bits = int(text[at]) - 48
                x |= (bits & 31) << shift
                shift, at = shift + 5, at + 1
            if bits & 16:
                x -= np.int64(1) << shift
            if n - offsets[i] > 2:
                x += np.int64(counts[n - 2])
            if x < 0 or x > 4294967295:
                return -1
            counts[n] = x
            n += 1
        offsets[i + 1] = n
    return n
