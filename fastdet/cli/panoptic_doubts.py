"""What ``fastdet panoptic`` says of predictions whose categories may be numbered otherwise than the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastdet._files.errors import few, quoted
from fastdet._files.panoptic import Panoptic
from fastdet.cli.panoptic_count import Pair
from fastdet.segmentation.panoptic import PanopticMetrics
from fastdet.segmentation.panoptic_match import VOID_ID
from fastdet.segmentation.segment_pairs import count_segment_pairs

_MAX_IMAGES = 50  # that are compared again


def notes_of(truth: Panoptic, guess: Panoptic, pairs: Sequence[Pair], metrics: PanopticMetrics) -> list[str]:
    """A note if most segments that overlap a true one by half are of another category. FormatError, OSError.

    Looks only where less than half of the true segments are found: the maps of some images are read again.
    """
    result = metrics.compute()
    found, wanted = (int(np.sum(result[key])) for key in ("true_positives", "true_segments"))
    if not wanted:
        return [f"{truth.path}: no true segment, but for crowd: no segment can be found"]
    if 2 * found >= wanted:
        return []
    met: dict[tuple[int, int], int] = {}
    for true, predicted in pairs[:_MAX_IMAGES]:
        own, other = (side.segments(r, metrics._position) for side, r in ((truth, true), (guess, predicted)))
        shared = count_segment_pairs(truth.map(true), guess.map(predicted), metrics.backend)
        areas = [dict.fromkeys(shared[:, side].tolist(), 0) for side in (0, 1)]
        for *ids, count in shared.tolist():
            for area, i in zip(areas, ids, strict=True):
                area[i] += count
        for a, b, count in shared.tolist():
            if VOID_ID not in (a, b) and a not in own.crowd and 3 * count > areas[0][a] + areas[1][b]:  # IoU above 0.5
                kinds = own.category[a], other.category[b]
                met[kinds] = met.get(kinds, 0) + 1
    total, agree = sum(met.values()), sum(count for (a, b), count in met.items() if a == b)
    if 2 * agree >= total:
        return []
    names = [quoted(str(category["name"])) for category in metrics.categories]
    wrong = sorted((pair for pair in met if pair[0] != pair[1]), key=lambda pair: -met[pair])
    others = few([f"{names[a]} as {names[b]}" for a, b in wrong], 3)
    text = f"{guess.path}: of {total:,} segments that overlap a true one by half, {agree:,} have its category"
    return [f"{text}; others are {others}: are the categories numbered otherwise?"]
