"""The functions of the CUDA backend. Pointers are integers: device memory, 16-byte aligned if it holds boxes.

Kernels are queued on a stream, and the function returns at once. The last two arguments are the device and the stream.
``dtype`` is `numpy.dtype.char`, such as "f" or "d".
"""

from typing import Any

class Tensors:
    """The quick calls, on plain tensors of a GPU. Each gives None for what it has no short way for.

    ``place``: of the tensors' memory, as DLPack has it. Raises AttributeError for a torch that lacks what it needs.
    """

    def __init__(self, torch: Any, place: int = ...) -> None: ...
    def box_iou(self, boxes1: Any, boxes2: Any, metric: str, eps: float, /) -> Any: ...
    def confusion_matrix(self, target: Any, prediction: Any, classes: int, ignore: int | None, /) -> Any: ...
    def cross_entropy(
        self,
        logits: Any,
        target: Any,
        ignore_index: Any,
        reduction: str,
        label_smoothing: Any,
        gradient: bool,
        /,
    ) -> Any: ...
    def max_pool2d(
        self, image: Any, window: tuple[int, ...], size: tuple[int, int], compact: bool, places: bool, /
    ) -> Any: ...
    def nms(
        self,
        boxes: Any,
        scores: Any,
        idxs: Any,
        iou_threshold: Any,
        score_threshold: Any,
        max_output: Any,
        metric: Any,
        /,
    ) -> Any: ...
    def soft_nms(
        self,
        boxes: Any,
        scores: Any,
        idxs: Any,
        method: Any,
        iou_threshold: Any,
        sigma: Any,
        min_score: Any,
        max_output: Any,
        /,
    ) -> Any: ...
    def upsample_bilinear(
        self, image: Any, height: int, width: int, align_corners: bool, factor_y: float, factor_x: float, /
    ) -> Any: ...

def unavailable() -> str: ...
def take_fault() -> tuple[str, int] | None: ...
def waits() -> bool: ...
def read(pointer: int, count: int, device: int, stream: int, /) -> list[int]: ...
def box_area(dtype: str, boxes: int, n: int, out: int, device: int, stream: int, /) -> None: ...
def box_convert(
    dtype: str, boxes: int, n: int, in_fmt: str, out_fmt: str, out: int, device: int, stream: int, /
) -> None: ...
def clip_boxes_to_image(
    dtype: str, boxes: int, n: int, height: float, width: float, out: int, device: int, stream: int, /
) -> None: ...
def extend_boxes(dtype: str, boxes: int, n: int, offset: float, out: int, device: int, stream: int, /) -> None: ...
def remove_small_workspace(n: int, /) -> int: ...
def remove_small_boxes(
    dtype: str,
    boxes: int,
    n: int,
    min_size: float,
    workspace: int,
    keep: int,
    count: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def box_iou(
    dtype: str,
    a: int,
    n: int,
    b: int,
    m: int,
    metric: str,
    aligned: bool,
    crowd: int,
    eps: float,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def nms_workspace(
    dtype: str, score_dtype: str, n: int, keys: bool, iou_threshold: float, metric: str, device: int, /
) -> int: ...
def nms(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    keys: int,
    n: int,
    iou_threshold: float,
    score_threshold: float | None,
    metric: str,
    max_output: int,
    max_per_key: int,
    workspace: int,
    keep: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def soft_nms_workspace(dtype: str, n: int, keys: bool, device: int, /) -> int: ...
def soft_nms(
    dtype: str,
    boxes: int,
    scores: int,
    keys: int,
    n: int,
    gaussian: bool,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
    workspace: int,
    keep: int,
    new_scores: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def multiclass_workspace(entries: int, /) -> int: ...
def multiclass_select(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    batch: int,
    n: int,
    classes: int,
    score_threshold: float,
    workspace: int,
    entries: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def multiclass_gather(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    n: int,
    classes: int,
    entries: int,
    count: int,
    candidates: int,
    values: int,
    keys: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def multiclass_place(
    dtype: str,
    score_dtype: str,
    candidates: int,
    values: int,
    keys: int,
    keep: int,
    status: int,
    batch: int,
    classes: int,
    max_output: int,
    out_boxes: int,
    out_scores: int,
    out_labels: int,
    counts: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def fusion_input_bytes(n: int, /) -> int: ...
def fusion_gather(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    labels: int,
    n: int,
    model: int,
    first: int,
    input: int,
    all: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def merge_boxes_workspace(n: int, /) -> int: ...
def merge_boxes(
    dtype: str,
    score_dtype: str,
    input: int,
    n: int,
    iou_threshold: float,
    metric: str,
    workspace: int,
    out_boxes: int,
    out_scores: int,
    groups: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def nmm_workspace(
    dtype: str,
    score_dtype: str,
    n: int,
    keys: bool,
    iou_threshold: float,
    metric: str,
    transitive: bool,
    device: int,
    /,
) -> int: ...
def nmm(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    keys: int,
    n: int,
    iou_threshold: float,
    metric: str,
    transitive: bool,
    workspace: int,
    out_boxes: int,
    out_scores: int,
    keep: int,
    groups: int,
    order: int,
    parents: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def weighted_boxes_fusion_workspace(n: int, models: int, device: int, /) -> int: ...
def weighted_boxes_fusion(
    dtype: str,
    score_dtype: str,
    input: int,
    n: int,
    iou_threshold: float,
    min_score: float,
    confidence: int,
    allows_overflow: bool,
    share: int,
    models: int,
    share_sum: float,
    max_share: float,
    workspace: int,
    out_boxes: int,
    out_scores: int,
    out_labels: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def confusion_workspace() -> int: ...
def confusion_matrix(
    target: tuple[str, int, int],
    prediction: tuple[str, int, int],
    images: int,
    pixels: int,
    width: int,
    num_classes: int,
    ignore_index: int | None,
    counts: tuple[int, bool, int, int],
    device: int,
    stream: int,
    /,
) -> None: ...
def confusion_matrix_from_logits(
    target: tuple[str, int, int],
    dtype: str,
    logits: int,
    shape: tuple[int, int, int, int],
    height: int,
    width: int,
    channels_last: bool,
    align_corners: bool,
    ignore_index: int | None,
    counts: tuple[int, bool, int, int],
    device: int,
    stream: int,
    /,
) -> None: ...
def encode_boxes(
    dtype: str,
    boxes: int,
    anchors: int,
    n: int,
    weights: list[float],
    out: int,
    wrong: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def decode_boxes(
    dtype: str,
    deltas: int,
    anchors: int,
    n: int,
    per_anchor: int,
    weights: list[float],
    max_log_ratio: float,
    out: int,
    wrong: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def match_boxes(
    dtype: str,
    iou: int,
    rows: int,
    columns: int,
    high: float,
    low: float,
    allow_low_quality: bool,
    in_row: int,
    best: int,
    matches: int,
    wrong: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def propose_workspace(dtype: str, places: int, device: int, /) -> int: ...
def propose(
    dtype: str,
    scores: list[int],
    deltas: list[int],
    anchors: list[int],
    counts: list[int],
    images: int,
    sizes: int,
    pre_nms_top_n: int,
    min_size: float,
    score_threshold: float,
    max_log_ratio: float,
    workspace: int,
    boxes: int,
    values: int,
    keys: int,
    wrong: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def yolo_workspace(entries: int, /) -> int: ...
def yolo_look(
    dtype: str,
    output: int,
    images: int,
    candidates: int,
    channels: int,
    classes: int,
    planes: bool,
    objectness: bool,
    score_threshold: float,
    multi_label: bool,
    workspace: int,
    places: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def yolo_write(
    dtype: str,
    output: int,
    images: int,
    candidates: int,
    channels: int,
    classes: int,
    planes: bool,
    objectness: bool,
    score_threshold: float,
    multi_label: bool,
    workspace: int,
    places: int,
    count: int,
    boxes: int,
    scores: int,
    labels: int,
    of_image: int,
    rows: int,
    keys: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def upsample_bilinear(
    dtype: str,
    x: int,
    planes: int,
    channels: int,
    in_height: int,
    in_width: int,
    out_height: int,
    out_width: int,
    align_corners: bool,
    factor_y: float,
    factor_x: float,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def upsample_bilinear_backward(
    dtype: str,
    grad: int,
    planes: int,
    channels: int,
    in_height: int,
    in_width: int,
    out_height: int,
    out_width: int,
    align_corners: bool,
    factor_y: float,
    factor_x: float,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def max_pool2d(
    dtype: str,
    x: int,
    image: tuple[int, int, int, int],
    pooled: tuple[int, int],
    window: tuple[int, int, int, int, int, int],
    compact: bool,
    values: int,
    indices: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def pool_places_workspace(
    dtype: str,
    add: bool,
    image: tuple[int, int, int, int],
    pooled: tuple[int, int],
    window: tuple[int, int, int, int, int, int],
    compact: bool,
    /,
) -> int: ...
def max_pool2d_backward(
    dtype: str,
    grad: int,
    indices: int,
    image: tuple[int, int, int, int],
    pooled: tuple[int, int],
    window: tuple[int, int, int, int, int, int],
    compact: bool,
    workspace: int,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def max_unpool2d(
    itemsize: int,
    x: int,
    indices: int,
    image: tuple[int, int, int, int],
    pooled: tuple[int, int],
    window: tuple[int, int, int, int, int, int],
    compact: bool,
    zero_point: int,
    workspace: int,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def max_unpool2d_backward(
    itemsize: int,
    grad: int,
    indices: int,
    image: tuple[int, int, int, int],
    pooled: tuple[int, int],
    window: tuple[int, int, int, int, int, int],
    compact: bool,
    workspace: int,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def softmax_loss_workspace(images: int, classes: int, pixels: int, /) -> int: ...
def cross_entropy(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    label_dtype: str,
    target: int,
    weight: int,
    even: float,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def focal_loss(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    label_dtype: str,
    target: int,
    alpha: int,
    even: float,
    gamma: float,
    ignore: int | None,
    reduction: str,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def dice_loss_workspace(dtype: str, images: int, classes: int, pixels: int, /) -> int: ...
def dice_loss(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    label_dtype: str,
    target: int,
    ignore: int | None,
    eps: float,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def tversky_loss(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    label_dtype: str,
    target: int,
    ignore: int | None,
    alpha: float,
    beta: float,
    eps: float,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def soft_cross_entropy(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    target: int,
    weight: int,
    even: float,
    reduction: str,
    label_smoothing: float,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def ohem_cross_entropy_workspace(dtype: str, images: int, classes: int, pixels: int, /) -> int: ...
def ohem_cross_entropy(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    label_dtype: str,
    target: int,
    weight: int,
    even: float,
    ignore: int | None,
    fraction: float,
    min_kept: int,
    threshold: float,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def lovasz_softmax_loss_workspace(dtype: str, images: int, classes: int, pixels: int, /) -> int: ...
def lovasz_softmax_loss(
    dtype: str,
    logits: int,
    channels_last: bool,
    images: int,
    classes: int,
    pixels: int,
    label_dtype: str,
    target: int,
    ignore: int | None,
    present: bool,
    per_image: bool,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def lovasz_hinge_loss_workspace(dtype: str, images: int, pixels: int, /) -> int: ...
def lovasz_hinge_loss(
    dtype: str,
    inputs: int,
    images: int,
    pixels: int,
    label_dtype: str,
    targets: int,
    ignore: int | None,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def loss_sum_workspace(n: int, /) -> int: ...
def box_loss(
    dtype: str,
    a: int,
    b: int,
    n: int,
    metric: str,
    eps: float,
    alpha_eps: float,
    reduction: str,
    loss: int,
    grad_a: int,
    grad_b: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def sigmoid_focal_loss(
    dtype: str,
    inputs: int,
    targets: int,
    wide: bool,
    n: int,
    alpha: float,
    gamma: float,
    reduction: str,
    loss: int,
    grad: int,
    workspace: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def scale(dtype: str, grad: int, n: int, factor: int, device: int, stream: int, /) -> None: ...
def paste_masks(
    masks: int,
    boxes: int,
    first: int,
    count: int,
    h: int,
    w: int,
    height: int,
    width: int,
    threshold: float,
    bits: bool,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def process_mask(
    prototypes: int,
    coefficients: int,
    boxes: int,
    first: int,
    count: int,
    k: int,
    h: int,
    w: int,
    height: int,
    width: int,
    logits: int,
    bits: bool,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def decode(
    ends: int, offsets: int, count: int, height: int, width: int, columns: bool, out: int, device: int, stream: int, /
) -> None: ...
def masks_to_boxes(masks: int, n: int, height: int, width: int, boxes: int, device: int, stream: int, /) -> None: ...
def components_workspace(pixels: int, /) -> int: ...
def find_components(
    itemsize: int,
    labels: int,
    shape: tuple[int, ...],
    eight: bool,
    workspace: int,
    first: int,
    count: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def measure_components(
    itemsize: int,
    labels: int,
    shape: tuple[int, ...],
    workspace: int,
    first: int,
    count: int,
    ends: int,
    results: list[int],
    device: int,
    stream: int,
    /,
) -> None: ...
def box_iou_rotated(
    dtype: str,
    a: int,
    n: int,
    b: int,
    m: int,
    degrees: bool,
    clockwise: bool,
    metric: str,
    aligned: bool,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def box_convert_rotated(
    dtype: str,
    boxes: int,
    n: int,
    in_fmt: str,
    out_fmt: str,
    degrees: bool,
    clockwise: bool,
    out_degrees: bool,
    out_clockwise: bool,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def min_area_rect_workspace(n: int, count: int, /) -> int: ...
def min_area_rect(
    dtype: str,
    points: int,
    n: int,
    count: int,
    degrees: bool,
    clockwise: bool,
    workspace: int,
    out: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def nms_rotated_workspace(dtype: str, score_dtype: str, n: int, keys: bool, device: int, /) -> int: ...
def nms_rotated(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    keys: int,
    n: int,
    degrees: bool,
    clockwise: bool,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
    workspace: int,
    keep: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def soft_nms_rotated_workspace(dtype: str, n: int, keys: bool, device: int, /) -> int: ...
def soft_nms_rotated(
    dtype: str,
    boxes: int,
    scores: int,
    keys: int,
    n: int,
    degrees: bool,
    clockwise: bool,
    gaussian: bool,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
    workspace: int,
    keep: int,
    new_scores: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...

_RoiArrays = tuple[str, int, int, bool, int, int, int, float, int, bool, int]

def roi_align(arrays: _RoiArrays, sizes: list[int], device: int, stream: int, /) -> None: ...
def roi_align_backward(arrays: _RoiArrays, sizes: list[int], device: int, stream: int, /) -> None: ...
def roi_levels(
    dtype: str, boxes: int, count: int, bounds: list[float], out: int, device: int, stream: int, /
) -> None: ...
def roi_pool(arrays: _RoiArrays, sizes: list[int], places: int, device: int, stream: int, /) -> None: ...
def roi_pool_backward(
    arrays: _RoiArrays, sizes: list[int], places: int, sums: int, device: int, stream: int, /
) -> None: ...
def ps_roi_align(arrays: _RoiArrays, sizes: list[int], device: int, stream: int, /) -> None: ...
def ps_roi_align_backward(arrays: _RoiArrays, sizes: list[int], device: int, stream: int, /) -> None: ...
def ps_roi_pool(arrays: _RoiArrays, sizes: list[int], device: int, stream: int, /) -> None: ...
def ps_roi_pool_backward(arrays: _RoiArrays, sizes: list[int], device: int, stream: int, /) -> None: ...
