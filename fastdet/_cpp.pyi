"""The C++ backend: every native function. Arguments have passed `fastdet._check`: C-contiguous, native-endian arrays.

A NaN in ``nms``, ``soft_nms`` and ``multiclass_nms`` is answered by an int, coded as `_check.find_nan` does.
"""

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastdet._check import Array

def box_area(boxes: Array, /) -> Array: ...
def box_convert(boxes: Array, in_fmt: str, out_fmt: str, /) -> Array: ...
def clip_boxes_to_image(boxes: Array, height: float, width: float, /) -> Array: ...
def remove_small_boxes(boxes: Array, min_size: float, /) -> NDArray[np.int64]: ...
def box_iou(
    a: Array, b: Array, kind: str, aligned: bool, crowd: Array | None, eps: float, out: Array | None, /
) -> Array: ...
def nms(
    boxes: Array,
    scores: Array,
    idxs: NDArray[np.int64] | None,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
    /,
) -> NDArray[np.int64] | int: ...
def nms_quick(boxes: Array, scores: Array, iou_threshold: float, /) -> NDArray[np.int64] | None: ...
def soft_nms(
    boxes: Array,
    scores: Array,
    idxs: NDArray[np.int64] | None,
    method: Any,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
    /,
) -> tuple[NDArray[np.int64], Array] | int: ...
def multiclass_nms(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float,
    max_output: int,
    max_per_class: int,
    metric: str,
    /,
) -> tuple[Array, Array, Array, Array] | int: ...
def merge_boxes(boxes: Array, iou_threshold: float, metric: str, /) -> tuple[Array, NDArray[np.int64]]: ...
def weighted_boxes_fusion(
    boxes: Array, scores: Array, labels: NDArray[np.int64], iou_threshold: float, /
) -> tuple[Array, NDArray[np.int64]]: ...
def read_coco(file: IO[bytes], size: int, results: bool, /) -> tuple[Any, ...] | str: ...
def group_rows(key: NDArray[np.int64], /) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
def match_groups(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    areas: NDArray[np.float64],
    start: NDArray[np.int64],
    truth: NDArray[np.float64],
    truth_areas: NDArray[np.float64],
    flags: NDArray[np.uint8],
    truth_start: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    ranges: NDArray[np.float64],
    max_detections: int,
    offset: float,
    voc: bool,
    with_matched: bool,
    /,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64] | None]: ...
def accumulate(
    scores: NDArray[np.float64],
    outcomes: NDArray[np.uint8],
    start: NDArray[np.int64],
    counted: NDArray[np.int64],
    of_class: NDArray[np.int64],
    T: int,
    recalls: NDArray[np.float64],
    max_detections: NDArray[np.int64],
    /,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def isa() -> str: ...
def isa_available() -> list[str]: ...
def set_isa(name: str, /) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
