"""Every op, backend and instruction set gives the reference's answer, on every dtype, layout, size and kind of box."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from ops import FLOATS, OPS, Op, close, equal
from optional import need
from samples import FAMILIES, Array, Sample, sample

import fastdet
from fastdet import boxes, nms

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
LONG = (255, 256, 257, 513, 1023, 1024, 1025)  # of 8-, 16- and 64-lane blocks, and where a kernel changes its way

each_op = pytest.mark.parametrize("name", OPS)
each_float = pytest.mark.parametrize("dtype", FLOATS)


@lru_cache(maxsize=64)
def wanted(name: str, family: str, n: int, dtype: str) -> Any:
    """The reference's answer, once for all backends."""
    return OPS[name].reference(sample(family, n, dtype))


def check(name: str, backend: str, family: str, n: int, dtype: str) -> None:
    op, given = OPS[name], sample(family, n, dtype)
    try:
        op.same(op.call(given, backend), wanted(name, family, n, dtype))
    except AssertionError as error:
        raise AssertionError(f"{name} on {given.name}: {error}") from None


def test_the_table_is_whole() -> None:
    """Every public op has a row, and every row every fast backend."""
    public = {*fastdet.boxes.__all__, *fastdet.nms.__all__} - {"Detections"}
    assert {name.split()[0] for name in OPS} == public
    assert all(op.backends == ("numba", "cpp", "cuda") for op in OPS.values())


@each_op
@pytest.mark.parametrize("backend", ["numba", "cpp"])
def test_the_kernel_is_there(name: str, backend: str) -> None:
    """A declared backend that falls back, or is missing, fails here."""
    assert backend in OPS[name].backends
    reason = fastdet.config()["backends"][backend]
    assert reason == "available", reason


@each_float
@each_op
def test_values(variant: str, name: str, dtype: str) -> None:
    for family in (*FAMILIES, *(("missing",) if OPS[name].nan else ())):
        check(name, variant, family, 70, dtype)


@each_float
@each_op
def test_sizes(variant: str, name: str, dtype: str) -> None:
    for n in SIZES:
        check(name, variant, "clustered" if dtype == "float32" else "grid", n, dtype)


@each_float
@each_op
def test_long(variant: str, name: str, dtype: str) -> None:
    for n in LONG:
        if n <= OPS[name].largest:
            check(name, variant, "clustered", n, dtype)


@pytest.mark.parametrize("name", ["nms", "batched_nms", "box_iou aligned", "box_area", "remove_small_boxes"])
@each_float
@pytest.mark.parametrize("family", ["clustered", "grid", "degenerate"])
def test_thousands(variant: str, name: str, family: str, dtype: str) -> None:
    check(name, variant, family, 4000, dtype)


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, d) for name, op in OPS.items() for d in op.dtypes if d not in FLOATS]
)
def test_dtypes(variant: str, name: str, dtype: str) -> None:
    if dtype == "bfloat16":
        torch = need("torch")
        op, given = OPS[name], sample("clustered", 70, "float32")

        def half(x: Array) -> Any:
            tensor = torch.from_numpy(np.array(x))
            return tensor.bfloat16() if tensor.is_floating_point() else tensor

        op.same(op.call(given, variant, half), op.reference(given, half))
        return
    for family, n in (("clustered", 70), ("grid", 33), ("huge", 33), ("degenerate", 33), ("clustered", 1), ("grid", 0)):
        check(name, variant, family, n, dtype)


# Layouts: the same values, laid out otherwise.


def strided(x: Array) -> Array:
    """Every second entry of each axis of a larger array."""
    wide = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def backwards(x: Array) -> Array:
    """Negative strides on every axis."""
    turn = tuple(slice(None, None, -1) for _ in x.shape)
    return np.ascontiguousarray(x[turn])[turn]


def fortran(x: Array) -> Array:
    return np.asfortranarray(x)


def read_only(x: Array) -> Array:
    copy = x.copy()
    copy.setflags(write=False)
    return copy


def big_endian(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder(">"))


def unaligned(x: Array) -> Array:
    """One byte off."""
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def column(x: Array) -> Array:
    """A slice of a wider record: rows apart, their entries together."""
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 3), x.dtype)
    view = wide[..., 1:-2]
    view[...] = x
    return view


def repeated(x: Array) -> Array:
    """Stride 0: not the same values, but no memory of its own either."""
    return np.broadcast_to(x[:1], x.shape)


LAYOUTS = (strided, backwards, fortran, read_only, big_endian, unaligned, column, repeated)


@each_op
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
def test_layouts(backend: str, layout: Callable[[Array], Array], name: str) -> None:
    op = OPS[name]
    for dtype in FLOATS:
        for n in (0, 1, 2, 41):
            given = sample("clustered", n, dtype)
            as_copy = op.reference(given, lambda x: np.array(layout(x), x.dtype, order="C"))
            op.same(op.call(given, backend, layout), as_copy)


@each_op
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
def test_inputs_are_not_written_to(backend: str, name: str) -> None:
    given = sample("clustered", 41, "float64")
    copies: list[tuple[Array, Array]] = []

    def writable(x: Array) -> Array:
        copies.append((x, x.copy()))
        return copies[-1][1]

    OPS[name].call(given, backend, writable)
    assert copies
    for before, after in copies:
        equal(after, before)


@each_op
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
def test_results_are_new_and_writable(backend: str, name: str) -> None:
    held: list[Array] = []

    def hold(x: Array) -> Array:
        held.append(x)
        return x

    result = OPS[name].call(sample("disjoint", 9, "float64"), backend, hold)
    for array in result if isinstance(result, tuple) else (result,):
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert not any(np.may_share_memory(array, x) for x in held)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "n"), [("nms", 4000), ("batched_nms", 4000), ("box_iou", 1500), ("box_iou crowd", 1500),
                    ("generalized_box_iou", 1025), ("distance_box_iou", 1025), ("complete_box_iou", 1025),
                    ("box_iou aligned", 50_000), ("soft_nms", 1025), ("batched_soft_nms gaussian", 1025),
                    ("multiclass_nms", 600), ("box_convert", 50_000), ("box_area", 50_000),
                    ("clip_boxes_to_image", 50_000), ("remove_small_boxes", 50_000)],
)  # fmt: skip
def test_threads(cpp: str, threads: Callable[[int], None], name: str, n: int, count: int) -> None:
    threads(count)
    assert fastdet.get_num_threads() == count
    for dtype in FLOATS:
        check(name, cpp, "clustered", n, dtype)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 300), (300, 1), (3, 1025), (1025, 3)])
@pytest.mark.parametrize("name", ["box_iou", "box_iou out", "generalized_box_iou", "distance_box_iou"])
def test_shapes_of_pairs(variant: str, name: str, shape: tuple[int, int]) -> None:
    for dtype in FLOATS:
        a, b = sample("clustered", shape[0], dtype).boxes, sample("clustered", shape[1], dtype).boxes2
        got = OPS[name].public(a, b, backend=variant)
        assert got.shape == shape
        equal(got, OPS[name].public(a, b, backend="reference"))


@pytest.mark.parametrize(("one", "other"), [("float32", "float64"), ("float16", "float64"), ("int32", "float32")])
def test_mixed_dtypes(variant: str, one: str, other: str) -> None:
    a, b = sample("grid", 40, one), sample("grid", 40, other)
    mixed = Sample("mixed", a.boxes, b.boxes2, b.scores, a.idxs, a.crowd)
    for name in ("box_iou", "box_iou aligned", "nms", "soft_nms", "soft_nms gaussian", "multiclass_nms", "merge_boxes"):
        OPS[name].same(OPS[name].call(mixed, variant), OPS[name].reference(mixed))


@pytest.mark.parametrize("family", ["clustered", "grid", "exact", "infinite", "huge"])
@pytest.mark.parametrize(("one", "other"), [("float32", "float32"), ("float64", "float64"), ("float32", "float64")])
def test_nms_without_options(cpp: str, one: str, other: str, family: str) -> None:
    """The usual call, which looks at its arguments in C++: every other argument takes the long way to one answer."""
    for n in (0, 1, 2, 31, 32, 33, 299, 300, 301, 1025):
        given, scores = sample(family, n, one), sample(family, n, other).scores
        want = nms.nms(given.boxes, scores, given.t, backend="reference")
        equal(nms.nms(given.boxes, scores, given.t), want)
        equal(nms.nms(np.asfortranarray(given.boxes), scores[::-1][::-1], given.t), want)
        equal(nms.nms(given.boxes.astype(given.boxes.dtype.newbyteorder(">")), scores, given.t), want)


def test_the_short_way_knows_what_is_not_for_it() -> None:
    quick, b, s = fastdet._core.backends.native.nms_quick, np.eye(3, 4, dtype=np.float32), np.ones(3, np.float32)
    assert quick(b, s, 0.5) is not None
    odd = [(b[:, :3], s), (b[:2], s), (b[0], s), (b.astype(np.int32), s), (b.astype(np.float16), s), (b[:, ::-1], s),
           (b, s[:, None]), (b.astype(">f4"), s), (b, s.astype(">f8")), (b * np.nan, s), (b, s * np.nan)]  # fmt: skip
    assert [quick(*arguments, 0.5) for arguments in odd] == [None] * len(odd)
    assert [quick(b, s, t) for t in (-0.1, 1.1, np.nan)] == [None] * 3


# A number that float32 may round to 0 or to infinity, wherever an op takes one.
SCALARS: dict[str, Callable[[Sample, float, str], Any]] = {
    "threshold": lambda s, v, b: nms.nms(s.boxes, s.scores, min(v, 1.0), backend=b),
    "score_threshold": lambda s, v, b: nms.nms(s.boxes, s.scores, 0.5, score_threshold=v, backend=b),
    "negative score_threshold": lambda s, v, b: nms.nms(s.boxes, s.scores, 0.5, score_threshold=-v, backend=b),
    "multiclass score_threshold": lambda s, v, b: nms.multiclass_nms(
        s.boxes[None], s.scores[None, :, None], 0.5, score_threshold=v, backend=b
    ),
    "min_score": lambda s, v, b: nms.soft_nms(s.boxes, s.scores, min_score=v, backend=b),
    "sigma": lambda s, v, b: nms.soft_nms(s.boxes, s.scores, method="gaussian", sigma=v, backend=b),
    "offset": lambda s, v, b: nms.soft_nms(s.boxes, s.scores, offset=v, backend=b),
    "min_size": lambda s, v, b: boxes.remove_small_boxes(s.boxes, v, backend=b),
    "size": lambda s, v, b: boxes.clip_boxes_to_image(s.boxes, (v, 3.0), backend=b),
    "eps": lambda s, v, b: boxes.distance_box_iou(s.boxes, s.boxes2, v, backend=b),
}


@pytest.mark.parametrize("value", [1e-300, 1e-45, 1e39, 1e300])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scalar", SCALARS)
def test_scalars_beyond_the_dtype(variant: str, scalar: str, dtype: str, value: float) -> None:
    """No warning, and one answer; a refusal, where the dtype has no such number, is one too."""
    given, call = sample("grid", 40, dtype), SCALARS[scalar]

    def answer(backend: str) -> Any:
        try:
            return call(given, value, backend)
        except ValueError as error:
            return np.array([str(error)])

    equal(answer(variant), answer("reference"))


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinite_scores(variant: str, dtype: str) -> None:
    given = sample("clustered", 40, dtype)
    scores = given.scores.copy()
    scores[::5], scores[1::7] = np.inf, -np.inf
    odd = Sample("infinite scores", given.boxes, given.boxes2, scores, given.idxs, given.crowd)
    for name in ("nms", "nms limited", "batched_nms", "soft_nms", "soft_nms gaussian", "multiclass_nms"):
        OPS[name].same(OPS[name].call(odd, variant), OPS[name].reference(odd))


# A comparator that is handed a wrong answer must fail.


def spoilt(x: Array) -> list[Array]:
    """Answers that are wrong by as little as can be."""
    last = x.copy()
    if x.dtype.kind == "f":
        last.flat[-1] = np.nextafter(last.flat[-1], 2, dtype=x.dtype)
        sign, hole = x.copy(), x.copy()
        sign.flat[0] = -0.0
        hole.flat[-1] = np.nan
        return [last, sign, hole, x[:-1], x.astype(np.float64), x[None]]
    last.flat[-1] += 1
    return [last, x[:-1], x.astype(np.int32), x[None], x[::-1]]


@pytest.mark.parametrize("right", [np.array([0, 0.25, 1], np.float32), np.array([5, 2, 9])], ids=["float", "int"])
def test_equal_tells(right: Array) -> None:
    equal(right.copy(), right)
    equal((right, right), (right.copy(), right))
    for wrong in spoilt(right):
        for got, want in ((wrong, right), ((right, wrong), (right, right))):
            with pytest.raises(AssertionError):
                equal(got, want)
    for odd in (right.tolist(), (right,), None, (right, right)):
        with pytest.raises(AssertionError):
            equal(odd, right)


def test_equal_takes_nan_for_nan() -> None:
    odd = np.array([0x7FC00000, 0x7FC00001, 0xFFC00000], np.uint32).view(np.float32)
    equal(odd, odd[::-1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_close_tells(dtype: str) -> None:
    right = np.array([0, -0.5, 0.25, 1, np.nan], dtype)
    eps = np.finfo(dtype).eps
    close(right + eps, right)
    for wrong in (right + 10 * eps, right - 10 * eps, right[:-1], np.nan_to_num(right), right.astype(np.float16)):
        with pytest.raises(AssertionError):
            close(wrong, right)


def test_the_suite_sees_a_wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that is off by the last bit, or by one box, does not pass `check`."""
    true_iou, true_nms = fastdet._core.backends.native.box_iou, fastdet._core.backends.native.nms
    rows: dict[str, Op] = {name: OPS[name] for name in ("box_iou", "nms")}
    assert all("cpp" in op.backends for op in rows.values())

    def off_by_a_bit(*args: Any) -> Array:
        return np.nextafter(true_iou(*args), np.float32(2))

    monkeypatch.setattr(fastdet._core.backends.native, "box_iou", off_by_a_bit)
    monkeypatch.setattr(fastdet._core.backends.native, "nms", lambda *args: true_nms(*args)[:-1])
    for name in rows:
        with pytest.raises(AssertionError):
            check(name, "cpp", "clustered", 70, "float32")
