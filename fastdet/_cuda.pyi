"""The CUDA backend: every native function. Pointers are integers, 16-byte aligned device memory where boxes are in it.

All queue their work on a stream and return; the last two arguments are the device and the stream. dtype is
`numpy.dtype.char`, "f" or "d".
"""

def unavailable() -> str: ...
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
