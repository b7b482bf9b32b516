"""Checks of a YOLO's output: where its channels are, how many of them are classes, values that no output holds."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_array
from fastdet._core.check import Array, value_at

LAYOUTS = ("detect", "segment", "pose", "end_to_end", "end_to_end_segment", "end_to_end_pose")
ROW = 6  # x1 y1 x2 y2 score class, of an end-to-end head


class Layout(NamedTuple):
    """What a caller says of an output's channels."""

    name: str  # of LAYOUTS
    classes: int | None  # None: all channels behind the boxes
    objectness: bool
    multi_label: bool
    candidates_last: bool | None

    @property
    def end_to_end(self) -> bool:
        return self.name.startswith("end_to_end")

    @property
    def has_extras(self) -> bool:
        return self.name.endswith(("segment", "pose"))

    @property
    def first(self) -> int:
        """The number of channels before the classes' scores."""
        return 5 if self.objectness else 4


class Job(NamedTuple):
    """A YOLO's output and options as the kernels take them (the first six fields)."""

    data: Any
    planes: bool  # data is (N, channels, candidates)
    classes: int  # of an end-to-end head: the number of labels that are allowed
    objectness: bool
    multi_label: bool
    score_threshold: float
    layout: Layout
    transposed: bool  # data has the last two axes of the caller's output swapped

    @property
    def candidates(self) -> int:
        count: int = self.data.shape[2 if self.planes else 1]
        return count

    @property
    def used(self) -> int:
        """The number of channels before the extras."""
        return ROW if self.layout.end_to_end else self.layout.first + self.classes


def layout_of(
    op: str, layout: Any, classes: Any, objectness: Any, multi_label: Any, candidates_last: Any, agnostic: bool = False
) -> Layout:
    """The checked options that say what an output's channels are."""
    name = check.choice(op, "layout", layout, LAYOUTS)
    count = None if classes is None else check.at_least_one(op, "classes", classes)
    if count is not None and count > check.MAX_CLASSES:
        raise ValueError(f"{op}: classes must be at most {check.MAX_CLASSES}, got {count}")
    last = None if candidates_last is None else bool(candidates_last)
    made = Layout(name, count, bool(objectness), bool(multi_label), last)
    if made.end_to_end:
        flags = {"objectness": made.objectness, "multi_label": made.multi_label, "class_agnostic": agnostic}
        for flag in (flag for flag, value in flags.items() if value):
            raise ValueError(f"{op}: {flag} must be False with layout {name!r}, got True")
    elif made.has_extras and count is None:
        raise ValueError(
            f"{op}: classes must be a number with layout {name!r}, got None: what follows them is no class"
        )
    return made


def job_of(op: str, output: Any, score_threshold: Any, layout: Layout) -> Job:
    """The checked arguments of `yolo_candidates`."""
    x = to_array(op, "output", output)
    if x.ndim != 3:
        channels = "4 + C" if layout.name == "detect" else "channels"
        raise ValueError(f"{op}: output must have shape (N, P, {channels}) or (N, {channels}, P), got {x.shape}")
    planes = planes_of(op, x.shape, layout)
    count = x.shape[1 if planes else 2]
    _check_channels(op, count, x.shape, layout)
    classes = layout.classes or (check.MAX_CLASSES if layout.end_to_end else count - layout.first)
    if classes > check.MAX_CLASSES:
        raise ValueError(f"{op}: output must have at most {check.MAX_CLASSES} classes, got {classes}")
    if x.shape[1] * x.shape[2] > check.MAX_COUNT:
        raise ValueError(f"{op}: output must have at most {check.MAX_COUNT} entries an image, got {x.shape}")
    min_score = check.number(op, "score_threshold", score_threshold)
    transposed = not x.flags.c_contiguous and x.transpose(0, 2, 1).flags.c_contiguous
    data = check.real(op, "output", x.transpose(0, 2, 1) if transposed else x)
    job = Job(data, planes != transposed, classes, *layout[2:4], min_score, layout, transposed)
    if count == ROW and layout.name == "detect" and layout.classes is None and not layout.objectness:
        _refuse_rows(op, job)
    return job


def planes_of(op: str, shape: Any, layout: Layout) -> bool:
    """Whether candidates are the last axis: as said, or as the number of channels tells, or as the longer axis does."""
    if layout.candidates_last is not None:
        return layout.candidates_last
    expected = None
    if not layout.has_extras:
        expected = ROW if layout.end_to_end else layout.classes and layout.first + layout.classes
    if expected and bool(shape[1] == expected) != bool(shape[2] == expected):
        return bool(shape[1] == expected)
    if shape[1] == shape[2]:
        raise ValueError(
            f"{op}: candidates_last must be True or False where both axes of output are as long, got None for "
            f"{tuple(shape)}"
        )
    return bool(shape[2] > shape[1])


def _check_channels(op: str, channels: int, shape: Any, layout: Layout) -> None:
    """Raise ValueError where the channels are not those of the layout; the error says which layout they may be."""
    got = f"got {channels} in {shape}"
    if layout.end_to_end:
        if channels == ROW and not layout.has_extras:
            return
        if channels > ROW and layout.has_extras:
            _check_keypoints(op, channels - ROW, layout)
            return
        more = " and more" if layout.has_extras else ""
        rule = f"{ROW} channels, x1 y1 x2 y2 score class{more}, with layout {layout.name!r}"
        raise ValueError(f"{op}: output must have {rule}, {got}")
    if layout.classes is None:
        if channels > layout.first:
            return
        raise ValueError(f"{op}: output must have {layout.first} + C channels with C of 1 or more, {got}")
    extras = channels - layout.first - layout.classes
    if extras == 0 and not layout.has_extras:
        return
    if extras > 0 and layout.has_extras:
        _check_keypoints(op, extras, layout)
        return
    rule = f"{layout.first} + {layout.classes}{' and more' * layout.has_extras} channels"
    advice = ""
    if extras == 1 and not layout.objectness:
        advice = (
            "; objectness=True if the fifth is Pr(object); heads of oriented boxes, with an angle, are not supported"
        )
    elif extras > 0:
        advice = "; layout='segment' if mask coefficients follow the classes, 'pose' if keypoints do"
    elif channels == ROW:
        advice = "; layout='end_to_end' if they are x1 y1 x2 y2 score class"
    raise ValueError(f"{op}: output must have {rule} with layout {layout.name!r}, {got}{advice}")


def _check_keypoints(op: str, extras: int, layout: Layout) -> None:
    if layout.name.endswith("pose") and extras % 2 and extras % 3:
        raise ValueError(f"{op}: output must have 2 or 3 channels a keypoint with layout {layout.name!r}, got {extras}")


def _refuse_rows(op: str, job: Job) -> None:
    """Raise ValueError for an output that looks like end-to-end rows of one or two classes; 4 + 2 channels fit both.

    Not where either reading gives no box.
    """
    pair = job.data[:, 4:ROW] if job.planes else job.data[:, :, 4:ROW].transpose(0, 2, 1)
    scores, last = (pair if isinstance(pair, np.ndarray) else pair.host()).swapaxes(0, 1)
    if ((last == 0) | (last == 1)).all() and max(scores.max(initial=0), last.max(initial=0)) > job.score_threshold:
        raise ValueError(
            f"{op}: layout must be 'end_to_end' or classes 2, got neither for {ROW} channels whose last is 0 or 1: "
            "rows x1 y1 x2 y2 score class, or two classes?"
        )


def raise_wrong(op: str, job: Job, flat: int) -> NoReturn:
    """Raise for a NaN, or a score outside [0, 1], at a flat index of ``job.data``."""
    at = tuple(int(i) for i in np.unravel_index(flat, job.data.shape))
    value = float(value_at(job.data, at))
    if job.transposed:
        at = at[0], at[2], at[1]
    if value != value:
        check.raise_nan(op, "output", at)
    raise ValueError(
        f"{op}: output must have scores in [0, 1], got {value:.9g} at index {at}: name its channels (layout, classes, "
        "objectness), or apply a sigmoid to logits"
    )


def first_wrong(data: Array, planes: bool, scores: slice, used: int) -> int | None:
    """The flat index, in memory's order, of the first value that no output holds: NaN, or a score outside [0, 1].

    ``scores``: the channels that hold some. ``used``: the number of channels that are looked at.
    """
    rows = data.transpose(0, 2, 1) if planes else data
    wrong = np.isnan(rows)
    wrong[..., used:] = False
    with np.errstate(invalid="ignore"):
        wrong[..., scores] |= ~((rows[..., scores] >= 0) & (rows[..., scores] <= 1))
    flat = (wrong.transpose(0, 2, 1) if planes else wrong).ravel()
    return int(np.argmax(flat)) if flat.any() else None
