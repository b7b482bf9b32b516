"""The work of ``fastdet panoptic``: match the images of two files, count them in threads, name those that are wrong."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fastdet
from fastdet._core.check import describe
from fastdet._files.detections import Advance
from fastdet._files.errors import FormatError, few
from fastdet._files.panoptic import Panoptic, Record
from fastdet.distributed.cluster import in_order
from fastdet.segmentation.panoptic import PanopticMetrics
from fastdet.segmentation.panoptic_match import Image, Sides
from fastdet.segmentation.panoptic_match import count as count_image

PIECE = 16  # images of one task on a cluster
MAX_WRONG = 10  # wrong images that an error names; reading stops there
Pair = tuple[Record, Record]


def pair(truth: Panoptic, guess: Panoptic) -> list[Pair]:
    """The records of each image, in the order of the true file. FormatError names images without a partner."""
    texts = []
    for one, other in ((truth, guess), (guess, truth)):
        alone = [describe(image) for image in one.records if image not in other.records]
        if alone:
            texts.append(f"{len(alone):,} of {one.path} not in {other.path}: {few(alone, MAX_WRONG)}")
    if texts:
        raise FormatError(f"panoptic: images without a partner: {'; '.join(texts)}")
    return [(record, guess.records[image]) for image, record in truth.records.items()]


def count(
    truth: Panoptic, guess: Panoptic, pairs: Sequence[Pair], metrics: PanopticMetrics, advance: Advance, ray: Any = None
) -> None:
    """Count all images into ``metrics``, in order, a few maps at a time. FormatError names those that are wrong.

    In threads; with ``ray`` on its cluster, which holds a few images of each file at a time.
    """
    results = _in_threads(truth, guess, pairs, metrics) if ray is None else _on_ray(ray, truth, guess, pairs, metrics)
    wrong: list[str] = []
    done: list[Image] = []
    with contextlib.closing(results):
        for number, result in enumerate(results, 1):
            if isinstance(result, str):
                wrong.append(result)
            else:
                done.append(result)
            advance(1)
            if len(wrong) >= MAX_WRONG and number < len(pairs):
                raise FormatError(f"{_unusable(wrong)}; stopped after {number:,} of {len(pairs):,} images")
    if wrong:
        raise FormatError(_unusable(wrong))
    metrics._add(done)


Results = Generator[Image | str, None, None]


def _in_threads(truth: Panoptic, guess: Panoptic, pairs: Sequence[Pair], metrics: PanopticMetrics) -> Results:
    threads = max(1, min(fastdet.get_num_threads(), len(pairs)))
    todo = iter(pairs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fastdet-panoptic")
    try:
        waiting = deque(pool.submit(_one, truth, guess, *each, metrics) for each in itertools.islice(todo, 2 * threads))
        for _ in range(len(pairs)):
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_one, truth, guess, *each, metrics) for each in itertools.islice(todo, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _on_ray(ray: Any, truth: Panoptic, guess: Panoptic, pairs: Sequence[Pair], metrics: PanopticMetrics) -> Results:
    sides = tuple(side._replace(records={}, categories=None) for side in (truth, guess))
    pieces = [pairs[i : i + PIECE] for i in range(0, len(pairs), PIECE)]
    for piece in in_order(ray, _piece, (*sides, metrics._empty()), pieces):
        yield from piece


def _piece(shared: tuple[Panoptic, Panoptic, PanopticMetrics], pairs: Sequence[Pair]) -> list[Image | str]:
    truth, guess, metrics = shared
    return [_one(truth, guess, *pair, metrics) for pair in pairs]


def _one(truth: Panoptic, guess: Panoptic, true: Record, predicted: Record, metrics: PanopticMetrics) -> Image | str:
    """What one image adds to ``metrics``, or its error."""
    try:
        segments = truth.segments(true, metrics._position), guess.segments(predicted, metrics._position)
        maps = truth.map(true), guess.map(predicted)
        sides = Sides(
            (f"{true.where}.segments_info", f"{predicted.where}.segments_info"),
            (str(truth.folder / true.name), str(guess.folder / predicted.name)),
        )
        return count_image(sides, maps, segments, metrics.backend, FormatError)
    except FormatError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror or error}"


def _unusable(wrong: Sequence[str]) -> str:
    images = "1 image" if len(wrong) == 1 else f"{len(wrong):,} images"
    return f"panoptic: {images} that cannot be counted: {'; '.join(wrong)}"
