"""Wrong arguments raise the same exception with the same text on every backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

import fastdet
from fastdet import boxes, detection, fusion, nms

BACKENDS = ("reference", "numba", "cpp", None)
B = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]], np.float32)
S = np.array([0.9, 0.8, 0.7], np.float32)
K = np.array([0, 1, 0])
B1, S1 = B[None], S[None, :, None]  # one image, one class
NAN_BOX, NAN_SCORE = B.copy(), S.copy()
NAN_BOX[1, 2] = NAN_SCORE[2] = np.nan


class OnDevice:
    """An array on another device, as DLPack shows it."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, **_: Any) -> Any:
        raise AssertionError("the memory of another device was asked for")


def no_buffer(dtype: Any = np.float32, shape: tuple[int, ...] = (3, 3)) -> Any:
    return np.zeros(shape, dtype)


Case = tuple[str, Callable[[Any], Any], type[Exception], str]
real = "must be float16, float32, float64 or integer"

SHAPES: list[Case] = [
    ("five columns", lambda b: nms.nms(np.zeros((3, 5)), S, 0.5, backend=b), ValueError,
     "nms: boxes must have shape (N, 4), got (3, 5)"),
    ("one axis", lambda b: nms.nms(B[0], S, 0.5, backend=b), ValueError, "nms: boxes must have shape (N, 4), got (4,)"),
    ("three axes", lambda b: boxes.box_area(B[None], backend=b), ValueError,
     "box_area: boxes must have shape (N, 4), got (1, 3, 4)"),
    ("no axis", lambda b: boxes.box_area(np.float32(3), backend=b), ValueError,
     "box_area: boxes must have shape (N, 4), got ()"),
    ("empty, wrong columns", lambda b: boxes.box_area(np.zeros((0, 5)), backend=b), ValueError,
     "box_area: boxes must have shape (N, 4), got (0, 5)"),
    ("short scores", lambda b: nms.nms(B, S[:2], 0.5, backend=b), ValueError,
     "nms: scores must have shape (3,), one per box, got (2,)"),
    ("score column", lambda b: nms.soft_nms(B, S[:, None], backend=b), ValueError,
     "soft_nms: scores must have shape (3,), one per box, got (3, 1)"),
    ("short idxs", lambda b: nms.batched_nms(B, S, K[:2], 0.5, backend=b), ValueError,
     "batched_nms: idxs must have shape (3,), one per box, got (2,)"),
    ("aligned lengths", lambda b: boxes.box_iou(B, B[:2], aligned=True, backend=b), ValueError,
     "box_iou: boxes2 must have shape (3, 4) as boxes1 if aligned, got (2, 4)"),
    ("aligned lengths, giou", lambda b: boxes.generalized_box_iou(B, B[:2], aligned=True, backend=b), ValueError,
     "generalized_box_iou: boxes2 must have shape (3, 4) as boxes1 if aligned, got (2, 4)"),
    ("short iscrowd", lambda b: boxes.box_iou(B, B, iscrowd=[1], backend=b), ValueError,
     "box_iou: iscrowd must have shape (3,), got (1,)"),
    ("boxes of one image", lambda b: nms.multiclass_nms(B, S[:, None], 0.5, backend=b), ValueError,
     "multiclass_nms: boxes must have shape (B, N, 4), got (3, 4)"),
    ("scores of another batch", lambda b: nms.multiclass_nms(B[None], S[:2][None, :, None], 0.5, backend=b), ValueError,
     "multiclass_nms: scores must have shape (1, 3, C), got (1, 2, 1)"),
    ("models", lambda b: nms.weighted_boxes_fusion([B, B], [S], [K, K], backend=b), ValueError,
     "weighted_boxes_fusion: scores_list must have 2 entries as boxes_list, got 1"),
    ("weights", lambda b: nms.weighted_boxes_fusion([B], [S], [K], weights=[1, 2], backend=b), ValueError,
     "weighted_boxes_fusion: weights must have 1 entries, one per model, got 2"),
    ("no models", lambda b: nms.weighted_boxes_fusion([], [], [], backend=b), ValueError,
     "weighted_boxes_fusion: boxes_list must hold at least one model's boxes, got none"),
    ("image size", lambda b: boxes.clip_boxes_to_image(B, 480, backend=b), ValueError,
     "clip_boxes_to_image: size must be (height, width), got 480"),
]  # fmt: skip

DTYPES: list[Case] = [
    *(("boxes " + str(np.dtype(d)), lambda b, d=d: nms.nms(B.astype(d), S, 0.5, backend=b), TypeError,
       f"nms: boxes {real}, got {np.dtype(d)}") for d in (bool, np.complex64, object, "U3", np.longdouble)),
    *(("scores " + str(np.dtype(d)), lambda b, d=d: nms.nms(B, S.astype(d), 0.5, backend=b), TypeError,
       f"nms: scores {real}, got {np.dtype(d)}") for d in (bool, np.complex128, object)),
    ("dates", lambda b: boxes.box_area(np.zeros((3, 4), "M8[s]"), backend=b), TypeError,
     f"box_area: boxes {real}, got datetime64[s]"),
    ("float idxs", lambda b: nms.batched_nms(B, S, S, 0.5, backend=b), TypeError,
     "batched_nms: idxs must be an integer array, got float32"),
    ("bool idxs", lambda b: nms.batched_soft_nms(B, S, S > 0, backend=b), TypeError,
     "batched_soft_nms: idxs must be an integer array, got bool"),
    ("idxs over int64", lambda b: nms.batched_nms(B, S, np.full(3, 2**63, np.uint64), 0.5, backend=b), ValueError,
     "batched_nms: idxs must fit in int64, got 9223372036854775808"),
    ("float iscrowd", lambda b: boxes.box_iou(B, B, iscrowd=S, backend=b), TypeError,
     "box_iou: iscrowd must be a boolean or 0/1 integer array, got float32"),
    ("iscrowd 2", lambda b: boxes.box_iou(B, B, iscrowd=[0, 2, 1], backend=b), ValueError,
     "box_iou: iscrowd must hold only 0 and 1, got 0 to 2"),
    ("labels", lambda b: nms.weighted_boxes_fusion([B], [S], [S], backend=b), TypeError,
     "weighted_boxes_fusion: labels must be an integer array, got float32"),
    ("not a list of models", lambda b: nms.weighted_boxes_fusion(B[None], [S], [K], backend=b), TypeError,
     "weighted_boxes_fusion: boxes_list must be a list with one array per model, got ndarray"),
    ("nothing", lambda b: nms.nms(None, S, 0.5, backend=b), TypeError, "nms: boxes must be an array, got NoneType"),
    ("text", lambda b: nms.nms("boxes", S, 0.5, backend=b), TypeError, "nms: boxes must be an array, got str"),
    ("masked", lambda b: nms.nms(np.ma.masked_array(B), S, 0.5, backend=b), TypeError,
     "nms: boxes must be a plain array, got a masked array"),
    ("masked scores", lambda b: nms.nms(B, np.ma.masked_array(S), 0.5, backend=b), TypeError,
     "nms: scores must be a plain array, got a masked array"),
    ("ROCm", lambda b: nms.nms(OnDevice(10), S, 0.5, backend=b), TypeError,
     "nms: boxes must be on the CPU, got a OnDevice on device (10, 0)"),
    ("mixed devices", lambda b: boxes.box_iou(B, OnDevice(10), backend=b), TypeError,
     "box_iou: boxes2 must be on the CPU, got a OnDevice on device (10, 0)"),
    ("ROCm out", lambda b: boxes.box_iou(B, B, out=OnDevice(10), backend=b), TypeError,
     "box_iou: out must be on the CPU, got a OnDevice on device (10, 0)"),
    ("no CUDA kernel", lambda b: detection.match_detections(B, OnDevice(2), B, backend=b), NotImplementedError,
     "match_detections: backend 'cuda' has no kernel for it: scores must be on the CPU, "
     "got a OnDevice on device (2, 0)"),
]  # fmt: skip

NUMBERS: list[Case] = [
    *((f"threshold {t}", lambda b, t=t: nms.nms(B, S, t, backend=b), ValueError,
       f"nms: iou_threshold must be in [0, 1], got {float(t)}") for t in (-0.1, 1.5, 2, np.float32(-1))),
    *((f"threshold {t}", lambda b, t=t: nms.nms(B, S, t, backend=b), ValueError,
       f"nms: iou_threshold must be a finite number, got {t}") for t in (np.nan, np.inf, -np.inf)),
    *((f"threshold {t!r}", lambda b, t=t: nms.nms(B, S, t, backend=b), TypeError,
       f"nms: iou_threshold must be a number, got {t!r}") for t in ("0.5", None, True, [0.5], 1j, np.array([0.5]))),
    ("merge threshold", lambda b: nms.merge_boxes(B, S, -1, backend=b), ValueError,
     "merge_boxes: iou_threshold must be in [0, 1], got -1.0"),
    ("nmm threshold", lambda b: fusion.nmm(B, S, 2, backend=b), ValueError,
     "nmm: iou_threshold must be in [0, 1], got 2.0"),
    ("greedy_nmm threshold", lambda b: fusion.greedy_nmm(B, S, np.nan, backend=b), ValueError,
     "greedy_nmm: iou_threshold must be a finite number, got nan"),
    ("multiclass threshold", lambda b: nms.multiclass_nms(B1, S1, 9, backend=b), ValueError,
     "multiclass_nms: iou_threshold must be in [0, 1], got 9.0"),
    ("fusion threshold", lambda b: nms.weighted_boxes_fusion([B], [S], [K], iou_thr=1.1, backend=b), ValueError,
     "weighted_boxes_fusion: iou_thr must be in [0, 1], got 1.1"),
    ("score threshold", lambda b: nms.nms(B, S, 0.5, score_threshold=np.nan, backend=b), ValueError,
     "nms: score_threshold must be a finite number, got nan"),
    ("sigma", lambda b: nms.soft_nms(B, S, sigma=0, backend=b), ValueError, "soft_nms: sigma must be above 0, got 0.0"),
    ("min_score", lambda b: nms.batched_soft_nms(B, S, K, min_score=-1, backend=b), ValueError,
     "batched_soft_nms: min_score must be 0 or more, got -1.0"),
    ("offset", lambda b: nms.soft_nms(B, S, offset="1", backend=b), TypeError,
     "soft_nms: offset must be a number, got '1'"),
    ("max_output", lambda b: nms.nms(B, S, 0.5, max_output=-1, backend=b), ValueError,
     "nms: max_output must be 0 or more, got -1"),
    ("max_output float", lambda b: nms.soft_nms(B, S, max_output=2.0, backend=b), TypeError,
     "soft_nms: max_output must be an integer, got 2.0"),
    ("max_output bool", lambda b: nms.batched_nms(B, S, K, 0.5, max_output=True, backend=b), TypeError,
     "batched_nms: max_output must be an integer, got True"),
    ("max_output none", lambda b: nms.multiclass_nms(B1, S1, 0.5, max_output=None, backend=b), TypeError,
     "multiclass_nms: max_output must be an integer, got None"),
    ("eps", lambda b: boxes.distance_box_iou(B, B, 0.0, backend=b), ValueError,
     "distance_box_iou: eps must be above 0, got 0.0"),
    ("eps nan", lambda b: boxes.complete_box_iou(B, B, np.nan, backend=b), ValueError,
     "complete_box_iou: eps must be a finite number, got nan"),
    ("min_size", lambda b: boxes.remove_small_boxes(B, np.inf, backend=b), ValueError,
     "remove_small_boxes: min_size must be a finite number, got inf"),
    ("image size below 0", lambda b: boxes.clip_boxes_to_image(B, (-1, 3), backend=b), ValueError,
     "clip_boxes_to_image: size must be 0 or more, got (-1, 3)"),
    ("image width", lambda b: boxes.clip_boxes_to_image(B, (3, "3"), backend=b), TypeError,
     "clip_boxes_to_image: width must be a number, got '3'"),
    ("weights 0", lambda b: nms.weighted_boxes_fusion([B], [S], [K], weights=[0], backend=b), ValueError,
     "weighted_boxes_fusion: weights must be above 0, got 0.0"),
    ("scores below 0", lambda b: nms.weighted_boxes_fusion([B], [S - 1], [K], backend=b), ValueError,
     f"weighted_boxes_fusion: scores must be 0 or more, got {(S - 1).min()}"),
]  # fmt: skip

WORDS: list[Case] = [
    ("metric", lambda b: nms.nms(B, S, 0.5, metric="giou", backend=b), ValueError,
     "nms: metric must be one of 'iou', 'ios', got 'giou'"),
    ("metric of pairs", lambda b: boxes.box_iou(B, B, metric=None, backend=b), ValueError,
     "box_iou: metric must be one of 'iou', 'ios', got None"),
    ("metric of a batch", lambda b: nms.multiclass_nms(B1, S1, 0.5, metric="", backend=b), ValueError,
     "multiclass_nms: metric must be one of 'iou', 'ios', got ''"),
    ("method", lambda b: nms.soft_nms(B, S, method="hard", backend=b), ValueError,
     "soft_nms: method must be one of 'linear', 'gaussian', got 'hard'"),
    ("in_fmt", lambda b: boxes.box_convert(B, "yxyx", "xywh", backend=b), ValueError,
     "box_convert: in_fmt must be one of 'xyxy', 'xywh', 'cxcywh', got 'yxyx'"),
    ("out_fmt", lambda b: boxes.box_convert(B, "xyxy", "XYWH", backend=b), ValueError,
     "box_convert: out_fmt must be one of 'xyxy', 'xywh', 'cxcywh', got 'XYWH'"),
    ("conf_type", lambda b: nms.weighted_boxes_fusion([B], [S], [K], conf_type="min", backend=b), ValueError,
     "weighted_boxes_fusion: conf_type must be one of 'avg', 'max', 'box_and_model_avg', 'absent_model_aware_avg', "
     "got 'min'"),
]  # fmt: skip

NANS: list[Case] = [
    ("nms box", lambda b: nms.nms(NAN_BOX, S, 0.5, backend=b), ValueError,
     "nms: boxes must not hold NaN, got NaN at index 1"),
    ("nms score", lambda b: nms.nms(B, NAN_SCORE, 0.5, backend=b), ValueError,
     "nms: scores must not hold NaN, got NaN at index 2"),
    ("both: the box is named", lambda b: nms.batched_nms(NAN_BOX, NAN_SCORE, K, 0.5, backend=b), ValueError,
     "batched_nms: boxes must not hold NaN, got NaN at index 1"),
    ("below the score threshold", lambda b: nms.nms(NAN_BOX, S, 0.5, score_threshold=0.85, backend=b), ValueError,
     "nms: boxes must not hold NaN, got NaN at index 1"),
    ("beyond max_output", lambda b: nms.nms(NAN_BOX, S, 0.5, max_output=0, backend=b), ValueError,
     "nms: boxes must not hold NaN, got NaN at index 1"),
    ("soft box", lambda b: nms.soft_nms(NAN_BOX, S, backend=b), ValueError,
     "soft_nms: boxes must not hold NaN, got NaN at index 1"),
    ("soft score", lambda b: nms.soft_nms(B, NAN_SCORE, method="gaussian", backend=b), ValueError,
     "soft_nms: scores must not hold NaN, got NaN at index 2"),
    ("soft batched", lambda b: nms.batched_soft_nms(B, NAN_SCORE, K, backend=b), ValueError,
     "batched_soft_nms: scores must not hold NaN, got NaN at index 2"),
    ("multiclass box", lambda b: nms.multiclass_nms(np.stack([B, NAN_BOX]), np.stack([S1, S1], 1)[0], 0.5, backend=b),
     ValueError, "multiclass_nms: boxes must not hold NaN, got NaN at index (1, 1, 2)"),
    ("multiclass score", lambda b: nms.multiclass_nms(B[None], np.stack([S, NAN_SCORE], 1)[None], 0.5, backend=b),
     ValueError, "multiclass_nms: scores must not hold NaN, got NaN at index (0, 2, 1)"),
    ("merge", lambda b: nms.merge_boxes(NAN_BOX, S, 0.5, backend=b), ValueError,
     "merge_boxes: boxes must not hold NaN, got NaN at index 1"),
    ("nmm", lambda b: fusion.nmm(NAN_BOX, S, 0.5, idxs=K, backend=b), ValueError,
     "nmm: boxes must not hold NaN, got NaN at index 1"),
    ("greedy_nmm", lambda b: fusion.greedy_nmm(B, NAN_SCORE, 0.5, backend=b), ValueError,
     "greedy_nmm: scores must not hold NaN, got NaN at index 2"),
    ("fusion", lambda b: nms.weighted_boxes_fusion([B, B], [S, NAN_SCORE], [K, K], backend=b), ValueError,
     "weighted_boxes_fusion: scores must not hold NaN, got NaN at index 2"),
]  # fmt: skip

OUTS: list[Case] = [
    ("dtype", lambda b: boxes.box_iou(B, B, out=no_buffer(np.float64), backend=b), TypeError,
     "box_iou: out must be float32, got float64"),
    ("shape", lambda b: boxes.box_iou(B, B[:2], out=no_buffer(), backend=b), ValueError,
     "box_iou: out must have shape (3, 2), got (3, 3)"),
    ("aligned shape", lambda b: boxes.distance_box_iou(B, B, aligned=True, out=no_buffer(), backend=b), ValueError,
     "distance_box_iou: out must have shape (3,), got (3, 3)"),
    ("strided", lambda b: boxes.box_iou(B, B, out=no_buffer(shape=(3, 6))[:, ::2], backend=b), ValueError,
     "box_iou: out must be writable, aligned and C-contiguous"),
    ("Fortran", lambda b: boxes.box_iou(B, B, out=np.asfortranarray(no_buffer()), backend=b), ValueError,
     "box_iou: out must be writable, aligned and C-contiguous"),
    ("read-only", lambda b: boxes.box_iou(B, B, out=np.broadcast_to(np.float32(0), (3, 3)), backend=b), ValueError,
     "box_iou: out must be writable, aligned and C-contiguous"),
    ("big-endian", lambda b: boxes.box_iou(B, B, out=no_buffer(">f4"), backend=b), TypeError,
     "box_iou: out must be float32, got >f4"),
]  # fmt: skip

CASES = {"shapes": SHAPES, "dtypes": DTYPES, "numbers": NUMBERS, "words": WORDS, "nan": NANS, "out": OUTS}


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [pytest.param(*case, id=f"{group}: {name}") for group, cases in CASES.items() for name, *case in cases],
)
def test_text(call: Callable[[Any], Any], error: type[Exception], text: str, backend: str | None) -> None:
    with pytest.raises(error, match=f"^{re.escape(text)}$") as caught:
        call(backend)
    assert type(caught.value) is error


@pytest.mark.parametrize("op", [*boxes.__all__, *sorted({*nms.__all__} - {"Detections"})])
@pytest.mark.parametrize("backend", ["cuda", "", "CPP", 1, ["cpp"]], ids=str)
def test_unknown_backend(op: str, backend: Any) -> None:
    args: dict[str, tuple[Any, ...]] = {
        "box_area": (B,), "box_convert": (B, "xyxy", "xywh"), "clip_boxes_to_image": (B, (4, 4)),
        "remove_small_boxes": (B, 1), "nms": (B, S, 0.5), "batched_nms": (B, S, K, 0.5), "soft_nms": (B, S),
        "batched_soft_nms": (B, S, K), "multiclass_nms": (B1, S1, 0.5), "merge_boxes": (B, S, 0.5),
        "weighted_boxes_fusion": ([B], [S], [K]),
    }  # fmt: skip
    function = getattr(boxes if op in boxes.__all__ else nms, op)
    with pytest.raises(ValueError, match=r"backend must be one of 'cpp', 'numba', 'reference', got "):
        function(*args.get(op, (B, B)), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_ragged_lists(backend: str | None) -> None:
    with pytest.raises(ValueError, match=r"^nms: boxes must be an array, got a ragged list"):
        nms.nms([[0, 0, 1, 1], [0, 1]], [0.5, 0.4], 0.5, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_out_apart_from_inputs(backend: str | None) -> None:
    memory = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match=r"^box_iou: out must not share memory with an input$"):
        boxes.box_iou(memory, memory, out=memory, backend=backend)


class Copies:
    """An array whose ``__array__`` is a copy, so that writes to it are lost."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.zeros((3, 3), np.float32)


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
@pytest.mark.parametrize("out", [[[0.0] * 3] * 3, Copies()], ids=["list", "copying"])
def test_out_that_cannot_be_written_to(out: Any, backend: str | None) -> None:
    """A list cannot receive a result, so it raises."""
    for b in (B, B.astype(np.float64)):
        with pytest.raises(TypeError, match=r"^box_iou: out must be "):
            boxes.box_iou(b, b, out=out, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
@pytest.mark.parametrize(
    "t", [np.array("x"), np.array(1j), np.array(True), 10**400], ids=["text", "complex", "bool", "1e400"]
)
def test_invalid_numbers(t: Any, backend: str | None) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^nms: iou_threshold must be "):
        nms.nms(B, S, t, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_invalid_lists_of_models(backend: str | None) -> None:
    with pytest.raises(TypeError, match=r"^weighted_boxes_fusion: boxes_list must be a list"):
        nms.weighted_boxes_fusion(5, [S], [K], backend=backend)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^weighted_boxes_fusion: weights must be "):
        nms.weighted_boxes_fusion([B], [S], [K], weights=3, backend=backend)  # type: ignore[arg-type]


# Soft-NMS with a function.


def test_callable_and_backends() -> None:
    numba = need("numba")

    def plain(iou: float) -> float:
        return 1 - iou

    with pytest.raises(NotImplementedError, match=r"^soft_nms: backend 'cpp' takes method 'linear' or 'gaussian'"):
        nms.soft_nms(B, S, method=plain, backend="cpp")
    with pytest.raises(TypeError, match=r"^soft_nms: method must be compiled by numba.njit on backend 'numba', got "):
        nms.soft_nms(B, S, method=plain, backend="numba")
    want = nms.soft_nms(B, S, method=plain, backend="reference")
    for backend in ("numba", None):
        got = nms.soft_nms(B, S, method=numba.njit(plain), backend=backend)
        assert all(np.array_equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("weight", [-0.5, 1.5, np.nan, np.inf])
def test_callable_outside_the_unit_interval(weight: float) -> None:
    numba = need("numba")
    texts = []
    for backend, wrap in (("reference", lambda f: f), ("numba", numba.njit)):
        with pytest.raises(ValueError, match=r"^soft_nms: method must return a weight in \[0, 1\], got ") as caught:
            nms.soft_nms(B, S, method=wrap(lambda iou: weight), backend=backend)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_callable_that_raises() -> None:
    def fails(iou: float) -> float:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        nms.soft_nms(B, S, method=fails)


# Tensors.


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_tensors_that_cannot_be_read(backend: str | None) -> None:
    torch = need("torch")
    dense = torch.from_numpy(B)
    unreadable = {
        r"^nms: boxes must be on the CPU, got a tensor on meta$": dense.to("meta"),
        r"^nms: boxes must be a dense tensor, got torch.sparse_coo$": dense.to_sparse(),
        rf"^nms: boxes {real}, got complex64$": dense.to(torch.complex64),
        rf"^nms: boxes {real}, got bool$": dense > 0,
        r"^nms: boxes must be .*float8_e5m2": dense.to(torch.float8_e5m2),
    }
    for text, tensor in unreadable.items():
        with pytest.raises(TypeError, match=text):
            nms.nms(tensor, torch.from_numpy(S), 0.5, backend=backend)


@pytest.mark.parametrize("n", [0, -1, 1025, 10**30])
def test_thread_count_range(n: int) -> None:
    with pytest.raises(ValueError, match=r"^set_num_threads: n must be "):
        fastdet.set_num_threads(n)


@pytest.mark.parametrize("n", [2.0, None, "2", True])
def test_thread_count_kind(n: Any) -> None:
    with pytest.raises(TypeError, match=r"^set_num_threads: n must be an integer, got "):
        fastdet.set_num_threads(n)


def test_kernels_check_their_arguments() -> None:
    """The native functions are private, but a wrong call of one must not read beyond its arrays."""
    from fastdet import _cpp

    with pytest.raises((TypeError, ValueError)):
        _cpp.nms(B[:, :3], S, None, 0.5, None, -1, "iou")
    with pytest.raises((TypeError, ValueError)):
        _cpp.nms(B.astype(np.int32), S, None, 0.5, None, -1, "iou")
    with pytest.raises((TypeError, ValueError)):
        _cpp.set_isa("sse9")
