"""The functions of the C++ backend. Arguments were checked before: arrays are C-contiguous and native-endian.

``nms``, ``soft_nms`` and ``multiclass_nms`` return an int for an input with NaN: its code, as from `check.find_nan`.
"""

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array

Counts = NDArray[np.uint32]  # runs, and where those of each mask start
Ints = NDArray[np.int64]

class Tensors:
    """The way from torch's tensors to NumPy's arrays. Raises AttributeError for a torch that lacks what it needs."""

    def __init__(self, torch: Any, /) -> None: ...
    def direct(self, xs: tuple[Any, ...], grad: bool, /) -> bool: ...
    def array(self, x: Any, /) -> Array | None: ...

def box_area(boxes: Array, /) -> Array: ...
def box_convert(boxes: Array, in_fmt: str, out_fmt: str, /) -> Array: ...
def clip_boxes_to_image(boxes: Array, height: float, width: float, /) -> Array: ...
def remove_small_boxes(boxes: Array, min_size: float, /) -> NDArray[np.int64]: ...
def box_iou(
    a: Array, b: Array, metric: str, aligned: bool, crowd: Array | None, eps: float, out: Array | None, /
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
def nms_quick(boxes: Array, scores: Array, threshold: float, ordinary: bool = ...) -> NDArray[np.int64] | None: ...
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
def box_iou_rotated(
    a: Array, b: Array, degrees: bool, clockwise: bool, metric: str, aligned: bool, out: Array | None, /
) -> Array: ...
def nms_rotated(
    boxes: Array,
    scores: Array,
    idxs: NDArray[np.int64] | None,
    degrees: bool,
    clockwise: bool,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
    /,
) -> NDArray[np.int64] | int: ...
def soft_nms_rotated(
    boxes: Array,
    scores: Array,
    idxs: NDArray[np.int64] | None,
    degrees: bool,
    clockwise: bool,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
    /,
) -> tuple[NDArray[np.int64], Array] | int: ...
def box_convert_rotated(
    boxes: Array,
    in_fmt: str,
    out_fmt: str,
    degrees: bool,
    clockwise: bool,
    out_degrees: bool,
    out_clockwise: bool,
    /,
) -> Array: ...
def min_area_rect(points: Array, degrees: bool, clockwise: bool, /) -> Array: ...
def rotated_iou_of_groups(
    boxes1: Array, boxes2: Array, crowd: Array, rows1: Ints, start1: Ints, rows2: Ints, start2: Ints, /
) -> Array: ...
def merge_boxes(
    boxes: Array, scores: Array, iou_threshold: float, metric: str, /
) -> tuple[Array, Array, NDArray[np.int64]]: ...
def nmm(
    boxes: Array,
    scores: Array,
    idxs: NDArray[np.int64] | None,
    iou_threshold: float,
    metric: str,
    transitive: bool,
    /,
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def weighted_boxes_fusion(
    boxes: list[Array],
    scores: list[Array],
    labels: list[NDArray[np.int64]],
    share: list[float],
    iou_threshold: float,
    min_score: float,
    conf_type: str,
    allows_overflow: bool,
    /,
) -> tuple[Array, Array, NDArray[np.int64]]: ...
def box_loss(
    a: Array, b: Array, metric: str, eps: float, alpha_eps: float, reduction: str, grad: bool, /
) -> tuple[Array, Array | None, Array | None]: ...
def upsample_bilinear(
    x: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: Array, /
) -> None: ...
def upsample_bilinear_backward(
    grad: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: Array, /
) -> None: ...
def roi_align(
    x: Array,
    channels_last: bool,
    boxes: Array,
    levels: Array | None,
    level: int,
    scale: float,
    ratio: int,
    aligned: bool,
    out: Array,
    /,
) -> int | None: ...
def roi_align_backward(
    grad: Array,
    channels_last: bool,
    boxes: Array,
    levels: Array | None,
    level: int,
    scale: float,
    ratio: int,
    aligned: bool,
    out: Array,
    /,
) -> int | None: ...
def roi_pool(
    x: Array, channels_last: bool, boxes: Array, scale: float, out: Array, places: Array | None, /
) -> int | None: ...
def roi_pool_backward(grad: Array, channels_last: bool, places: Array, boxes: Array, out: Array, /) -> int | None: ...
def ps_roi_align(
    x: Array, channels_last: bool, boxes: Array, scale: float, ratio: int, out: Array, /
) -> int | None: ...
def ps_roi_align_backward(
    grad: Array, channels_last: bool, boxes: Array, scale: float, ratio: int, out: Array, /
) -> int | None: ...
def ps_roi_pool(x: Array, channels_last: bool, boxes: Array, scale: float, out: Array, /) -> int | None: ...
def ps_roi_pool_backward(grad: Array, channels_last: bool, boxes: Array, scale: float, out: Array, /) -> int | None: ...
def roi_levels(boxes: Array, bounds: list[float], out: Array, /) -> None: ...
def confusion_matrix(
    target: Array, prediction: Array, num_classes: int, ignore_index: int | None, /
) -> NDArray[np.int64] | int: ...
def confusion_matrix_from_logits(
    target: Array, logits: Array, ignore_index: int | None, channels_last: bool, align_corners: bool, /
) -> NDArray[np.int64] | int: ...
def yolo_candidates(
    output: Array, planes: bool, classes: int, objectness: bool, multi_label: bool, score_threshold: float, /
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | int: ...
def encode_boxes(boxes: Array, anchors: Array, weights: tuple[float, ...], /) -> Array | int: ...
def decode_boxes(deltas: Array, anchors: Array, weights: tuple[float, ...], max_log_ratio: float, /) -> Array | int: ...
def match_boxes(iou: Array, high: float, low: float, allow_low_quality: bool, /) -> Ints | int: ...
def sample_balanced(labels: Ints, count: int, max_positive: int, seed: int, /) -> tuple[Ints, Ints]: ...
def generate_proposals(
    scores: list[Array],
    deltas: list[Array],
    anchors: list[Array],
    image_sizes: Array,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    iou_threshold: float,
    min_size: float,
    score_threshold: float,
    /,
) -> tuple[Array, Array, Ints] | int: ...
def sigmoid_focal_loss(
    inputs: Array, targets: Array, alpha: float, gamma: float, reduction: str, grad: bool, /
) -> tuple[Array, Array | None]: ...
def max_pool2d(
    x: Array,
    last: bool,
    window: tuple[int, ...],
    size: tuple[int, int],
    kind: str,
    values: Array | None,
    indices: Array | None,
    /,
) -> tuple[Array, Array | None]: ...
def max_pool2d_backward(
    grad: Array, indices: Array, last: bool, window: tuple[int, ...], size: tuple[int, int], /
) -> Array | None: ...
def max_unpool2d(
    x: Array,
    indices: Array,
    last: bool,
    window: tuple[int, ...],
    size: tuple[int, int],
    zero_point: int,
    out: Array | None,
    /,
) -> Array | None: ...
def max_unpool2d_backward(grad: Array, indices: Array, last: bool, window: tuple[int, ...], /) -> Array | None: ...
def cross_entropy(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
    /,
) -> tuple[Any, Array | None, float] | int: ...
def focal_loss(
    logits: Array,
    last: bool,
    target: Array,
    alpha: Array,
    gamma: float,
    ignore: int | None,
    reduction: str,
    gradient: bool,
    /,
) -> tuple[Any, Array | None, float] | int: ...
def dice_loss(
    logits: Array, last: bool, target: Array, ignore: int | None, eps: float, gradient: bool, /
) -> tuple[Any, Array | None, float] | int: ...
def soft_cross_entropy(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
    /,
) -> tuple[Any, Array | None, float]: ...
def ohem_cross_entropy(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    fraction: float,
    min_kept: int,
    threshold: float,
    gradient: bool,
    /,
) -> tuple[Any, Array | None, float] | int: ...
def tversky_loss(
    logits: Array,
    last: bool,
    target: Array,
    ignore: int | None,
    alpha: float,
    beta: float,
    eps: float,
    gradient: bool,
    /,
) -> tuple[Any, Array | None, float] | int: ...
def lovasz_softmax_loss(
    logits: Array, last: bool, target: Array, ignore: int | None, present: bool, per_image: bool, gradient: bool, /
) -> tuple[Any, Array | None, float] | int: ...
def lovasz_hinge_loss(
    inputs: Array, targets: Array, ignore: int | None, per_image: bool, gradient: bool, /
) -> tuple[Any, Array | None, float] | int: ...
def boundary_counts(
    target: Array, prediction: Array, num_classes: int, reach: int, distance: int, /
) -> NDArray[np.int64]: ...
def segment_pairs(target: Array, prediction: Array, /) -> NDArray[np.int64]: ...
def connected_components(
    labels: Array, eight: bool, /
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], Array, NDArray[np.int64]]: ...
def png_pixels(packed: bytes, height: int, width: int, /) -> NDArray[np.uint8] | int: ...
def read_coco(
    file: IO[bytes],
    size: int,
    kind: str,
    string_ids: bool,
    records: bool,
    iou_type: str,
    ids: NDArray[np.int64],
    sizes: NDArray[np.int64],
    max_text: int,
    max_images: int,
    max_runs: int,
    /,
) -> dict[str, Any] | str: ...
def join_records(
    text: bytes,
    start: NDArray[np.int64],
    length: NDArray[np.int32],
    score_at: NDArray[np.int32],
    scores: NDArray[np.float64] | None,
    /,
) -> bytes: ...
def encode_records(
    ids: list[bytes],
    image: NDArray[np.int64],
    label: NDArray[np.int64],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    /,
) -> bytes: ...
def group_rows(
    key: NDArray[np.int64], true_key: NDArray[np.int64], /
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def match_groups(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    areas: NDArray[np.float64],
    rows: NDArray[np.int64],
    start: NDArray[np.int64],
    truth: NDArray[np.float64],
    truth_areas: NDArray[np.float64],
    flags: NDArray[np.uint8],
    truth_rows: NDArray[np.int64],
    truth_start: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    ranges: NDArray[np.float64],
    max_detections: int,
    offset: float,
    voc: bool,
    with_matched: bool,
    overlaps: NDArray[np.float64] | None,
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
def encode(masks: Array, /) -> tuple[Counts, Ints] | None: ...
def decode(counts: Counts, offsets: Ints, out: Array, columns: bool, /) -> None: ...
def rle_area(counts: Counts, offsets: Ints, /) -> Ints: ...
def rle_boxes(counts: Counts, offsets: Ints, sizes: Ints, /) -> Array: ...
def rle_merge(counts: Counts, offsets: Ints, least: int, /) -> Counts: ...
def rle_boundary(counts: Counts, offsets: Ints, sizes: Ints, widths: Ints, /) -> tuple[Counts, Ints]: ...
def mask_iou(
    counts1: Counts,
    offsets1: Ints,
    counts2: Counts,
    offsets2: Ints,
    sizes1: Ints,
    sizes2: Ints,
    crowd: NDArray[np.bool_],
    metric: str,
    /,
) -> NDArray[np.float64]: ...
def mask_nms(
    counts: Counts,
    offsets: Ints,
    sizes: Ints,
    order: Ints,
    keys: Ints,
    threshold: float,
    max_output: int,
    smaller: bool,
    /,
) -> Ints: ...
def matrix_nms(
    counts: Counts, offsets: Ints, sizes: Ints, order: Ints, keys: Ints, linear: bool, /
) -> NDArray[np.float64]: ...
def rle_to_strings(counts: Counts, offsets: Ints, /) -> list[bytes]: ...
def rle_from_strings(texts: list[bytes], /) -> tuple[Counts, Ints] | tuple[str, int]: ...
def rle_from_polygons(corners: Array, points: Ints, parts: Ints, height: int, width: int, /) -> tuple[Counts, Ints]: ...
def paste_masks(
    masks: Array, boxes: Array, height: int, width: int, threshold: float, out: str, /
) -> Array | tuple[Counts, Ints]: ...
def process_mask(
    prototypes: Array, coefficients: Array, boxes: Array, height: int, width: int, out: str, /
) -> Array | tuple[Counts, Ints]: ...
def isa() -> str: ...
def isa_available() -> list[str]: ...
def set_isa(name: str, /) -> None: ...
def get_num_threads() -> int: ...
def pairs_counted() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def oks_of_groups(
    points: NDArray[np.float64],
    true_points: NDArray[np.float64],
    areas: NDArray[np.float64],
    boxes: NDArray[np.float64],
    sigmas: NDArray[np.float64],
    rows: NDArray[np.int64],
    start: NDArray[np.int64],
    true_rows: NDArray[np.int64],
    true_start: NDArray[np.int64],
    /,
) -> NDArray[np.float64]: ...
def mask_iou_of_groups(
    counts1: NDArray[np.uint32],
    offsets1: NDArray[np.int64],
    sizes1: NDArray[np.int64],
    counts2: NDArray[np.uint32],
    offsets2: NDArray[np.int64],
    sizes2: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    rows1: NDArray[np.int64],
    start1: NDArray[np.int64],
    rows2: NDArray[np.int64],
    start2: NDArray[np.int64],
    /,
) -> NDArray[np.float64]: ...
