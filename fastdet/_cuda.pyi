"""The CUDA backend: every native function. Pointers are integers, 16-byte aligned device memory where boxes are in it.

All queue their work on a stream and return; the last two arguments are the device and the stream. dtype is
`numpy.dtype.char`, "f" or "d".
"""

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
    kind: str,
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
def weighted_boxes_fusion_workspace(n: int, models: int, device: int, /) -> int: ...
def weighted_boxes_fusion(
    dtype: str,
    score_dtype: str,
    input: int,
    n: int,
    iou_threshold: float,
    least: float,
    confidence: int,
    allows_overflow: bool,
    share: int,
    models: int,
    share_sum: float,
    share_most: float,
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
def yolo_workspace(entries: int, /) -> int: ...
def yolo_look(
    dtype: str,
    output: int,
    images: int,
    candidates: int,
    channels: int,
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
    keys: int,
    device: int,
    stream: int,
    /,
) -> None: ...
