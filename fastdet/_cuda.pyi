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
def nms_workspace(dtype: str, score_dtype: str, n: int, keys: bool, device: int, /) -> int: ...
def nms_steps(n: int, /) -> int: ...
def nms_begin(
    dtype: str,
    score_dtype: str,
    boxes: int,
    scores: int,
    keys: int,
    n: int,
    iou_threshold: float,
    score_threshold: float | None,
    metric: str,
    workspace: int,
    status: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def nms_end(
    dtype: str,
    n: int,
    iou_threshold: float,
    metric: str,
    max_output: int,
    max_per_key: int,
    steps: int,
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
