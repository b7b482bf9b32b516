"""The work of ``fastdet panoptic``: match the images of two files, count them in threads, name those that are wrong."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import fastdet
from fastdet._files.detections import Advance
from fastdet._files.errors import FormatError, few
from fastdet._files.panoptic import Panoptic, Record
from fastdet.segmentation.panoptic import PanopticMetrics
from fastdet.segmentation.panoptic_match import Image, Sides
from fastdet.segmentation.panoptic_match import count as count_image

MAX_WRONG = 10  # wrong images that an error names; reading stops there
Pair = tuple[Record, Record]


def pair(truth: Panoptic, guess: Panoptic) -> list[Pair]:
    """The records of each image, in the order of the true file. FormatError names images without a partner."""
    texts = []
    for one, other in ((truth, guess), (guess, truth)):
        alone = [str(image) for image in one.records if image not in other.records]
        if alone:
            texts.append(f"{len(alone):,} of {one.path} not in {other.path}: {few(alone, MAX_WRONG)}")
    if texts:
        raise FormatError(f"panoptic: images without a partner: {'; '.join(texts)}")
    return [(record, guess.records[image]) for image, record in truth.records.items()]


def count(truth: Panoptic, guess: Panoptic, pairs: Sequence[Pair], metrics: PanopticMetrics, advance: Advance) -> None:
    """Count all images into ``metrics``, in order, a few maps at a time. FormatError names those that are wrong."""
    threads = max(1, min(fastdet.get_num_threads(), len(pairs)))
    wrong: list[str] = []
    todo = iter(pairs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fastdet-panoptic")
    try:
        waiting = deque(pool.submit(_one, truth, guess, *each, metrics) for each in itertools.islice(todo, 2 * threads))
        done: list[Image] = []
        for number in range(1, len(pairs) + 1):
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_one, truth, guess, *each, metrics) for each in itertools.islice(todo, 1))
            if isinstance(result, str):
                wrong.append(result)
            else:
                done.append(result)
            advance(1)
            if len(wrong) >= MAX_WRONG and number < len(pairs):
                raise FormatError(f"{_unusable(wrong)}; stopped after {number:,} of {len(pairs):,} images")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if wrong:
        raise FormatError(_unusable(wrong))
    metrics._add(done)


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
