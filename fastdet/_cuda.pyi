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
def loss_sum_workspace(n: int, /) -> int: ...
def box_loss(
    dtype: str,
    a: int,
    b: int,
    n: int,
    kind: str,
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
