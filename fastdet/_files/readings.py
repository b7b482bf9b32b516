"""What the numbers in detections mean: labels that are ids or positions, images that are ids or names, forms of boxes.

A number can often be read in several ways, and the wrong one gives a wrong figure. So each reading is compared with
the true boxes, and where another one fits and the reading does not, the user has to choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from fastdet._core.check import Array
from fastdet._files.data_set import DataSet, new_ids, positions
from fastdet._files.errors import ChoiceError, few, quoted
from fastdet._files.moved import moved
from fastdet.boxes import box_iou
from fastdet.detection.records import Columns, Floats, Ints

BOXES = ("x1 y1 x2 y2", "x y width height", "cx cy width height")
LABELS = ("id", "position", "position-from-1")
_MAX_IMAGES, _MAX_BOXES = 300, 1000  # images that are compared, and detections of each
_MIN_IOU, _CLOSE = 0.5, 0.75


def position_ids(data: DataSet, columns: Columns, first: int = 0) -> tuple[Ints, dict[int, str], list[str]]:
    """The category at the position of each label; the label of the first category is ``first``.

    A placeholder is not counted: a category that heads the others, or a first category without boxes where the true
    boxes show that detectors did not count it. A label that is no position gets a new id. Also returns such labels by
    their new id, and notes.
    """
    categories, notes, labels = data.categories.tolist(), [], columns.label
    left_out = _placeholder(data, columns, first)
    if left_out is not None:
        name = data.category_names[categories.index(left_out)]
        categories.remove(left_out)
        head = f"category {left_out}, {quoted(name)}, has no box"
        notes.append(f"{head}: it is not counted, and label {first} is category {categories[0]}")
    if categories != sorted(categories):
        notes.append("positions are places in the data set's list of categories, whose ids do not rise")
    ids, others = _at(data, categories, labels, first)
    return ids, others, notes


def _at(data: DataSet, categories: list[int], labels: Ints, first: int) -> tuple[Ints, dict[int, str]]:
    kinds, inverse = np.unique(labels, return_inverse=True)
    of, new, others = dict(enumerate(categories, first)), new_ids(data), {}
    for kind in kinds.tolist():
        if kind not in of:
            of[kind] = next(new)
            others[of[kind]] = str(kind)
    ids = np.array([of[kind] for kind in kinds.tolist()], np.int64)
    return ids[inverse.reshape(-1)] if len(labels) else labels, others


def _placeholder(data: DataSet, columns: Columns, first: int) -> int | None:
    """The category that labels from ``first`` do not count. None if they reach the last category, or count all."""
    categories, labels = data.categories.tolist(), columns.label
    if len(categories) < 2 or not len(labels) or int(labels.max()) - first >= len(categories) - 1:
        return None
    if data.placeholder is not None:
        return data.placeholder
    if (data.truth.label == categories[0]).any():
        return None
    with_it, without = (_at(data, some, labels, first)[0] for some in (categories, categories[1:]))
    return categories[0] if _better(data, columns, with_it, {"": without}) is not None else None


def check_ids(data: DataSet, columns: Columns, where: str) -> None:
    """ChoiceError if labels that were read as category ids look like positions, by their range or by the true boxes."""
    labels = columns.label
    if not len(labels):
        return
    low, high, count = int(labels.min()), int(labels.max()), len(data.categories)
    unknown = positions(np.sort(data.categories), labels) < 0
    firsts = {"position": 0, "position-from-1": 1}
    fits = {word: first for word, first in firsts.items() if first <= low and high < count + first}
    ask = "if they are category ids, use --labels id"
    if unknown.any() and fits:
        raise ChoiceError(
            "labels",
            f"must say what labels are: {int(unknown.sum()):,} of {len(labels):,} detections in {where} have labels "
            f"that are no category ids; if labels {low} to {high} count the classes, use --labels "
            f"{' or '.join(fits)}; {ask}",
        )
    if data.placeholder is not None and (labels == data.placeholder).any() and fits:
        name = data.category_names[data.categories.tolist().index(data.placeholder)]
        raise ChoiceError(
            "labels",
            f"must say what labels are: {where} has label {data.placeholder}, and category {data.placeholder}, "
            f"{quoted(name)}, only heads the others; "
            f"if labels count the classes, use --labels {' or '.join(fits)}; {ask}",
        )
    others = {word: position_ids(data, columns, first)[0] for word, first in fits.items()}
    rival = _better(data, columns, labels, others)
    if rival is not None:
        raise ChoiceError("labels", f"must say what labels are: {rival} in {where}; {ask}")


def check_positions(data: DataSet, columns: Columns, numbers: Ints, where: str) -> None:
    """ChoiceError if class numbers that were read as positions look like category ids, by the true boxes."""
    from_1 = position_ids(data, columns._replace(label=numbers), 1)[0]
    rival = _better(data, columns, columns.label, {"id": numbers, "position-from-1": from_1})
    if rival is not None:
        ask = "if they are positions, use --labels position"
        raise ChoiceError("labels", f"must say what labels are: {rival} in {where}; {ask}")


def check_images(data: DataSet, columns: Columns, other: Ints, where: str, *, taken: str = "id") -> list[str]:
    """ChoiceError if the other images of the detections fit the true boxes better than those taken; a note if as well.

    ``taken``: "id" where image ids were read as ids, and ``other`` are the images with these names; "name" where they
    were read as names, and ``other`` are the images with these ids.
    """
    counts = len(overlaps(data, columns)), len(overlaps(data, columns._replace(image=other)))
    of_ids, of_names = counts if taken == "id" else counts[::-1]
    if counts[1] > counts[0]:
        raise ChoiceError(
            "image-ids",
            f"must say what image ids are: names of images are numbers too, and detections in {where} overlap "
            f"{of_ids:,} true boxes if image_id is an id, {of_names:,} if it is a name; use --image-ids id or "
            "--image-ids name",
        )
    if counts[1] < 0.9 * counts[0] or not counts[0]:
        return []
    if taken == "name":
        return [f"{where}: image_id is taken as a name; it is an id too: --image-ids id reads them as ids"]
    return [
        f"{where}: image_id is taken as an id; names of images are numbers too: --image-ids name reads them as names"
    ]


def note_on_classes(data: DataSet, columns: Columns, pairs: Array, where: str) -> list[str]:
    """A note if most detections that overlap a true box are of another class, or two classes are found as others.

    ``pairs``: as from `overlaps`.
    """
    labels = np.stack([data.truth.label[pairs[:, 0]], columns.label[pairs[:, 1]]])
    agree = int((labels[0] == labels[1]).sum())
    hint = "is the list of classes in another order? See --labels and --classes"
    if 2 * agree >= len(pairs):
        (true, found), count = np.unique(labels, axis=1, return_counts=True)
        names = dict(zip(data.categories.tolist(), data.category_names, strict=True))
        swaps = [" as ".join(quoted(names.get(k) or str(k)) for k in pair) for pair in moved(true, found, count, 3)]
        text = f"{where}: most true boxes of some classes are found as others, {few(swaps, 3)}: {hint}"
        return [text] if swaps else []
    return [f"{where}: of {len(pairs):,} detections that overlap a true box, {agree:,} have its class: {hint}"]


def note_on_keypoints(data: DataSet, columns: Columns, where: str) -> list[str]:
    """A note if most keypoints of two numbers or more lie where those of one other number each should be."""
    true, found = data.truth.keypoints, columns.keypoints
    if true is None or found is None:
        return []
    pairs = overlaps(data, columns)[: min(_MAX_BOXES, 2_000_000 // max(1, true.shape[1]) ** 2)]
    true, found = (x[rows].clip(-1e100, 1e100) for x, rows in ((true, pairs[:, 0]), (found, pairs[:, 1])))
    apart = np.square(true[:, :, None, :2] - found[:, None, :, :2]).sum(axis=3)  # (P, K, K)
    nearest, marked = apart.argmin(axis=2), true[:, :, 2] > 0
    at = np.broadcast_to(np.arange(true.shape[1]), marked.shape)
    (own, other), count = np.unique(np.stack([at[marked], nearest[marked]]), axis=1, return_counts=True)
    swaps = few([f"{i} at {j}" for i, j in moved(own, other, count, 3)], 3)
    text = "most keypoints of some numbers, from 0, lie at those of others"
    return [f"{where}: {text}, {swaps}: are they in another order?"] if swaps else []


def note_on_boxes(data: DataSet, columns: Columns, pairs: Array, where: str, forms: tuple[str, str]) -> list[str]:
    """A note if hardly any detection overlaps a true box, or far more do in another form, which it names.

    ``pairs``: as from `overlaps`. ``forms``: what the numbers of the true boxes and of the detections were taken as,
    one of `BOXES`.
    """
    shared = np.intersect1d(data.truth.image, columns.image)[:_MAX_IMAGES]
    total = int(np.isin(data.truth.image, shared).sum())
    count = len(pairs)
    if count >= 0.2 * total:
        return _closer(data, columns, total, where, forms) if total >= 3 else []
    note = f"{where}: detections overlap only {count:,} of {total:,} true boxes by half: is one of the files in other "
    note += "units, of other images, or in another form of boxes?"
    for reading, other, found in _other_readings(data, columns, forms):
        better = len(overlaps(other, found))
        if better >= 0.6 * total:
            return [f"{note} {reading}, they overlap {better:,}"]
    return [note] if total >= 3 else []


def _closer(data: DataSet, columns: Columns, total: int, where: str, forms: tuple[str, str]) -> list[str]:
    """A note if few boxes lie close to true ones, and most do in another form: a wrong form often overlaps by half."""
    close = len(overlaps(data, columns, _CLOSE))
    for reading, other, found in _other_readings(data, columns, forms) if close < 0.3 * total else ():
        better = len(overlaps(other, found, _CLOSE))
        if better >= 0.6 * total:
            note = f"{where}: detections overlap only {close:,} of {total:,} true boxes by three quarters: is one of "
            return [f"{note}the files in another form of boxes? {reading}, they overlap {better:,}"]
    return []


def _other_readings(data: DataSet, columns: Columns, forms: tuple[str, str]) -> Iterator[tuple[str, DataSet, Columns]]:
    """The data set and the detections if the numbers of one of the files were meant in another form."""
    for form, boxes in _other_forms(data, columns, forms[1]).items():
        yield f"Taken as {form}", data, columns._replace(boxes=boxes)
    for form, boxes in _other_forms(data, data.truth, forms[0]).items():
        yield f"With true boxes taken as {form}", data._replace(truth=data.truth._replace(boxes=boxes)), columns


def _other_forms(data: DataSet, columns: Columns, taken: str) -> dict[str, Floats]:
    """The boxes (x y w h) if the numbers of the file were meant in other forms, by the names of these."""
    b = columns.boxes
    if taken == BOXES[0]:
        b = np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1)
    elif taken == BOXES[2]:
        b = np.concatenate([b[:, :2] + b[:, 2:] / 2, b[:, 2:]], axis=1)
    ends = np.concatenate([b[:, :2], (b[:, 2:] - b[:, :2]).clip(0)], axis=1)
    centres = np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, 2:]], axis=1)
    forms = dict(zip(BOXES, (ends, b, centres), strict=True))
    if taken == BOXES[2]:  # its fractions are those of the image already
        del forms[taken]
        return forms
    order = np.argsort(data.images)
    at = order[positions(data.images[order], columns.image)] if len(order) else np.zeros(0, np.int64)
    scale = np.tile(data.sizes[at], 2) if len(at) else np.ones((len(b), 4))
    if len(b) and scale.all() and np.abs(b).max() <= 2:
        forms |= {f"{form} as fractions of the image": boxes * scale for form, boxes in forms.items()}
        forms["fractions of the image"] = forms.pop(f"{taken} as fractions of the image")
    del forms[taken]
    return forms


def _better(data: DataSet, columns: Columns, labels: Ints, others: Mapping[str, Ints]) -> str | None:
    """A sentence about a reading that gives true boxes the class of their detection where ``labels`` do not."""
    others = {word: ids for word, ids in others.items() if (ids != labels).any()}
    pairs = overlaps(data, columns) if others else np.zeros((0, 2), np.int64)
    if len(pairs) < 2:
        return None
    wanted, rows = data.truth.label[pairs[:, 0]], pairs[:, 1]
    agree = int((labels[rows] == wanted).sum())
    word, best = max(((word, int((ids[rows] == wanted).sum())) for word, ids in others.items()), key=lambda x: x[1])
    if best - agree < max(2, 0.05 * len(rows)) or best < 0.5 * len(rows):
        return None
    return f"the classes of {agree:,} of {len(rows):,} overlapping boxes agree, and of {best:,} with --labels {word},"


def overlaps(data: DataSet, columns: Columns, least: float = _MIN_IOU) -> Array:
    """(P, 2) pairs of a true box and the first detection, by score, that overlaps it, in some of the images."""
    images = np.intersect1d(data.truth.image, columns.image)[:_MAX_IMAGES]
    truth, found = (np.flatnonzero(positions(images, ids) >= 0) for ids in (data.truth.image, columns.image))
    truth = truth[np.argsort(data.truth.image[truth], kind="stable")]
    found = found[np.lexsort((-columns.scores[found], columns.image[found]))]
    ends = [
        (np.searchsorted(ids, images, "left").tolist(), np.searchsorted(ids, images, "right").tolist())
        for ids in (data.truth.image[truth], columns.image[found])
    ]
    pairs = [np.zeros((0, 2), np.int64)]
    for a, b, c, d in zip(*ends[0], *ends[1], strict=True):
        mine, rows = truth[a:b], found[c : min(d, c + _MAX_BOXES)]
        overlap = box_iou(_corners(data.truth.boxes[mine]), _corners(columns.boxes[rows])) >= least
        has = overlap.any(axis=1)
        pairs.append(np.stack([mine[has], rows[overlap.argmax(axis=1)[has]]], axis=1))
    return np.concatenate(pairs)


def _corners(boxes: Array) -> Array:
    """x1 y1 x2 y2 of boxes x y w h, far from overflow."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).clip(-1e100, 1e100)
