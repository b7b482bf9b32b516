"""The CUDA backend without a GPU: on the emulator every op gives the reference's answer, in any order of threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import emulated
import numpy as np
import pytest
from cuda_parity import ROWS, B, OnDevice, S, check, each_float
from emulated import on_cpu, on_gpu
from layouts import LAYOUTS, big_endian
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from samples import FAMILIES, Array, Sample, sample

import fastdet
from fastdet import boxes, detection, fusion, nms

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

SIZES = (0, 1, 2, 31, 32, 33, 127, 128, 129, 257)
each_row = pytest.mark.parametrize("name", ROWS)


# Answers.


@each_float
@each_row
def test_values(name: str, dtype: str) -> None:
    for family in (*FAMILIES, *(("missing",) if OPS[name].nan else ())):
        check(name, sample(family, 40, dtype))


@each_row
def test_sizes(emulator: emulated.Emulator, name: str) -> None:
    for n in SIZES:
        emulator.seed(n)
        check(name, sample("clustered", n))
        check(name, sample("grid", min(n, 33), "float64"))


@pytest.mark.parametrize("name", ["nms", "batched_nms", "soft_nms", "batched_soft_nms", "multiclass_nms limited",
                                  "remove_small_boxes"])  # fmt: skip
def test_order_of_threads(emulator: emulated.Emulator, name: str) -> None:
    """A missing barrier would change the result in some order of threads."""
    for family, n in (("clustered", 300), ("grid", 70)):
        data = sample(family, n)
        want = OPS[name].reference(data)
        for seed in range(5):
            emulator.seed(seed)
            check(name, data, want)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 300), (33, 513), (65, 1025), (3, 514), (40, 4)])
def test_shapes_of_pairs(shape: tuple[int, int]) -> None:
    for dtype in FLOATS:
        a, b = sample("clustered", shape[0], dtype).boxes, sample("clustered", shape[1], dtype).boxes2
        equal(on_cpu(boxes.box_iou(on_gpu(a), on_gpu(b))), boxes.box_iou(a, b, backend="reference"))


@pytest.mark.parametrize("dtype", [d for d in OPS["nms"].dtypes if d not in (*FLOATS, "bfloat16")])
@pytest.mark.parametrize("name", ["box_iou", "nms", "batched_soft_nms", "multiclass_nms", "box_convert"])
def test_dtypes(name: str, dtype: str) -> None:
    for family in ("clustered", "grid", "huge"):
        check(name, sample(family, 33, dtype))


@pytest.mark.parametrize("layout", [f for f in LAYOUTS if f is not big_endian], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["box_iou crowd", "batched_nms", "multiclass_nms"])
def test_layouts(name: str, layout: Callable[[Array], Array]) -> None:
    data = sample("clustered", 41)
    laid = OPS[name].reference(data, lambda x: np.array(layout(x), x.dtype, order="C"))
    got = OPS[name].call(data, "cuda", lambda x: layout(x).view(emulated.Array))
    equal(on_cpu(got), laid)


def test_mixed_dtypes() -> None:
    a, b = sample("grid", 40, "float32"), sample("grid", 40, "float64")
    mixed = Sample("mixed", a.boxes, b.boxes2, b.scores, a.idxs, a.crowd)
    for name in ("box_iou", "box_iou aligned", "nms", "batched_nms", "soft_nms gaussian", "multiclass_nms"):
        check(name, mixed)


# Buffers of the caller.


def test_out() -> None:
    data = sample("clustered", 37)
    a, b = on_gpu(data.boxes[:10]), on_gpu(data.boxes2)
    out = on_gpu(np.zeros((10, 37), np.float32))
    assert boxes.box_iou(a, b, out=out) is out
    equal(on_cpu(out), boxes.box_iou(data.boxes[:10], data.boxes2))
    with pytest.raises(TypeError, match=r"^box_iou: out must be float32, got float64$"):
        boxes.box_iou(a, b, out=on_gpu(np.zeros((10, 37))))
    with pytest.raises(ValueError, match=r"^box_iou: out must have shape \(10, 37\), got \(10, 36\)$"):
        boxes.box_iou(a, b, out=on_gpu(np.zeros((10, 36), np.float32)))
    with pytest.raises(ValueError, match=r"^box_iou: out must be writable, aligned and C-contiguous$"):
        boxes.box_iou(a, b, out=on_gpu(np.zeros((37, 10), np.float32)).T)
    with pytest.raises(ValueError, match=r"^box_iou: out must not share memory with an input$"):
        boxes.box_iou(a, a[:4], out=a)


def test_inputs_are_not_written_to() -> None:
    for name in ROWS:
        copies: list[tuple[Array, Array]] = []

        def keep(x: Array, copies: list[tuple[Array, Array]] = copies) -> Array:
            copies.append((on_gpu(x), x))
            return copies[-1][0]

        OPS[name].call(sample("clustered", 41), "cuda", keep)
        for array, before in copies:
            equal(np.array(array), np.array(before))


def test_nothing_is_read_back() -> None:
    """The padded form of nms, for graphs, makes no CUDA calls but launches."""
    from fastdet import _cuda
    from fastdet._core import device_arrays
    from fastdet.nms import _cuda as _cuda_nms

    data = sample("clustered", 1500)
    want = nms.nms(data.boxes, data.scores, 0.5)
    arrays = [device_arrays.CuPyArray(on_gpu(x)) for x in (data.boxes, data.scores)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cuda, "read", None)
        keep, status = _cuda_nms.nms_padded(*arrays, None, 0.5, None, -1, "iou")
    assert status.owner.tolist() == [-1, -1, len(want)]
    equal(np.array(keep.owner[: len(want)]), want)


K = np.arange(3)


def test_same_text_as_on_the_cpu() -> None:
    bad = B.copy()
    bad[1, 2] = np.nan
    calls: list[Callable[[Callable[[Any], Any]], Any]] = [
        lambda to: nms.nms(to(bad), to(S), 0.5),
        lambda to: nms.nms(to(B), to(np.array([0.1, 0.2, np.nan])), 0.5),
        lambda to: nms.batched_nms(to(bad), to(S * np.nan), to(np.arange(3)), 0.5),
        lambda to: nms.soft_nms(to(bad), to(S)),
        lambda to: nms.multiclass_nms(to(bad[None]), to(S[None, :, None]), 0.5),
        lambda to: nms.multiclass_nms(to(B[None]), to(np.array([[[0.1, 0.2], [np.nan, 1], [0, 0]]])), 0.5),
        lambda to: nms.nms(to(B[:, :3]), to(S), 0.5),
        lambda to: nms.nms(to(B), to(S[:2]), 0.5),
        lambda to: nms.batched_nms(to(B), to(S), to(S), 0.5),
        lambda to: nms.nms(to(B > 0), to(S), 0.5),
        lambda to: boxes.box_iou(to(B), to(B), iscrowd=to(np.array([0, 2, 1]))),
        lambda to: nms.merge_boxes(to(bad), to(S), 0.5),
        lambda to: nms.merge_boxes(to(B), to(S * np.nan), 0.5),
        lambda to: nms.merge_boxes(to(B), to(S - np.array([0, np.inf, 0], np.float32)), 0.5),
        lambda to: nms.merge_boxes(to(np.where(np.isnan(bad), -np.inf, bad)), to(S), 0.5),
        lambda to: fusion.nmm(to(bad), to(S), 0.5),
        lambda to: fusion.greedy_nmm(to(B), to(S * np.nan), 0.5, idxs=to(K)),
        lambda to: fusion.nmm(to(B), to(S - np.array([0, np.inf, 0], np.float32)), 0.5),
        lambda to: fusion.greedy_nmm(to(np.where(np.isnan(bad), -np.inf, bad)), to(S), 0.5),
        lambda to: nms.weighted_boxes_fusion([to(B), to(bad)], [to(S * np.inf), to(S)], [to(K), to(K)]),
        lambda to: nms.weighted_boxes_fusion([to(B), to(B)], [to(S), to(S - 1)], [to(K), to(K)]),
        lambda to: nms.weighted_boxes_fusion([to(B), to(B)], [to(S - 1), to(S * np.nan)], [to(K), to(K)]),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)) as want:
            call(lambda x: x)
        with pytest.raises(want.type) as got:
            call(on_gpu)
        assert str(got.value) == str(want.value)


def test_merged_scores_may_be_negative() -> None:
    """Only averages need scores of 0 or more."""
    for scores in (S - 1, -S, S * [1, -1, 1]):
        for merge in (nms.merge_boxes, fusion.nmm, fusion.greedy_nmm):
            for got, want in zip(merge(on_gpu(B), on_gpu(scores), 0.5), merge(B, scores, 0.5), strict=True):
                equal(np.array(got), want)


def test_devices_do_not_mix() -> None:
    text = r"^{}: all arrays must be on one device and of one library, got arrays on the CPU and cupy arrays on cuda:0$"
    with pytest.raises(TypeError, match=text.format("nms")):
        nms.nms(on_gpu(B), S, 0.5)
    with pytest.raises(TypeError, match=text.format("nms")):
        nms.nms(B, on_gpu(S), 0.5)
    with pytest.raises(TypeError, match=text.format("box_iou")):
        boxes.box_iou(B, B, out=on_gpu(np.zeros((3, 3), np.float32)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulated.Device, "id", 1)
        assert len(nms.nms(on_gpu(B), on_gpu(S), 0.5))
    other = on_gpu(S)
    other.__class__ = type("Other", (emulated.Array,), {"device": property(lambda self: SimpleNamespace(id=1))})
    with pytest.raises(TypeError, match="got cupy arrays on cuda:0 and cupy arrays on cuda:1"):
        nms.nms(on_gpu(B), other, 0.5)


@pytest.mark.parametrize("backend", ["cpp", "numba", "reference", "nonsense"])
def test_the_array_decides(backend: str) -> None:
    with pytest.raises(ValueError, match=rf"backend must be 'cuda' for arrays on a GPU, got '{backend}'$"):
        nms.nms(on_gpu(B), on_gpu(S), 0.5, backend=backend)
    assert nms.nms(on_gpu(B), on_gpu(S), 0.5, backend="cuda").tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="backend must be one of"):
        nms.nms(B, S, 0.5, backend="cuda")


def test_what_has_no_kernel_says_so() -> None:
    text = r"^match_detections: backend 'cuda' has no kernel for it: scores must be on the CPU"
    with pytest.raises(NotImplementedError, match=text):
        detection.match_detections(B, OnDevice(), B)
    with pytest.raises(NotImplementedError, match=r"^soft_nms: backend 'cuda' takes method 'linear' or 'gaussian'"):
        nms.soft_nms(on_gpu(B), on_gpu(S), method=lambda iou: 1 - iou)


def test_a_failed_launch_is_an_exception(emulator: emulated.Emulator) -> None:
    for call, shape in (
        (lambda: boxes.box_area(on_gpu(B)), r"box_area: CUDA error 700 .* for shape \(3, 4\) on device 0"),
        (lambda: nms.nms(on_gpu(B), on_gpu(S), 0.5), r"nms: CUDA error 700 .* for shape \(3, 4\) on device 0"),
    ):
        emulator.fail_next(700)
        with pytest.raises(RuntimeError, match=shape):
            call()
        call()


def test_kernels_refuse_what_is_not_aligned() -> None:
    from fastdet import _cuda

    with pytest.raises(ValueError, match="not aligned"):
        _cuda.box_area("f", 8, 1, 16, 0, 0)
    with pytest.raises(TypeError, match="no kernel for dtype i"):
        _cuda.box_area("i", 16, 1, 16, 0, 0)
    assert nms.nms(on_gpu(np.concatenate([[0], B.ravel()]).astype(np.float32))[1:].reshape(3, 4), on_gpu(S), 0.5).size


def test_a_device_that_nobody_uses_gets_no_context(emulator: emulated.Emulator) -> None:
    """A call on GPU 1 makes GPU 0 current again only where something has used GPU 0 before."""
    from fastdet import _cuda

    x, areas = on_gpu(B), on_gpu(np.zeros(len(B), np.float32))
    call = ("f", x.data.ptr, len(B), areas.data.ptr, 1, 0)
    try:
        emulator.set_host(device=0, contexts=0)
        _cuda.box_area(*call)
        assert emulator.host()[:2] == (1, 0b10)
        emulator.set_host(device=0, contexts=0b01)
        _cuda.box_area(*call)
        assert emulator.host()[:2] == (0, 0b11)
    finally:
        emulator.set_host()
    equal(on_cpu(areas), boxes.box_area(B))


def test_the_first_launch_may_be_inside_a_capture(emulator: emulated.Emulator) -> None:
    """Loading a kernel is forbidden in the global mode of captures, so each call relaxes the mode, for itself alone."""
    boxes.box_area(on_gpu(B))
    relaxed, globally = 2, 0
    assert emulator.host()[2:] == (globally, relaxed)


@pytest.mark.parametrize(("n", "copied"), [(3, False), (20_000, True)])
def test_a_short_result_keeps_no_long_memory_alive(n: int, copied: bool) -> None:
    same = on_gpu(np.repeat(B[:1], n, 0)), on_gpu(np.ones(n, np.float32))
    root = nms.nms(*same, 0.5)
    assert on_cpu(root).tolist() == [0]
    while root.base is not None:
        root = root.base
    assert (root.nbytes == 8) is copied


# torch: its side of the plumbing, on CPU tensors whose memory the emulator can read.


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return emulated.torch_on_gpu(monkeypatch)


@pytest.mark.parametrize("name", ["box_area", "box_iou crowd", "batched_nms", "batched_soft_nms", "multiclass_nms",
                                  "remove_small_boxes"])  # fmt: skip
def test_torch(torch: Any, name: str) -> None:
    op, data = OPS[name], sample("clustered", 70)
    got = op.call(data, None, lambda x: torch.from_numpy(np.array(x)))
    results = got if isinstance(got, tuple) else (got,)
    want = op.reference(data)
    for result, right in zip(results, want if isinstance(want, tuple) else (want,), strict=True):
        assert type(result) is torch.Tensor
        equal(result.numpy(), right)


def test_torch_layouts_and_dtypes(torch: Any) -> None:
    data = sample("clustered", 41)
    b, s = torch.from_numpy(np.array(data.boxes)), torch.from_numpy(np.array(data.scores))
    want = nms.nms(data.boxes, data.scores, 0.5, backend="reference")
    unaligned = torch.zeros(41 * 4 + 1)[1:].view(41, 4).copy_(b)
    for tensor in (b.T.contiguous().T, unaligned, b.double().float(), b.neg().neg(), b.clone().requires_grad_()):
        equal(nms.nms(tensor, s, 0.5).numpy(), want)
    half = nms.nms(b.bfloat16(), s.half(), 0.5)
    rounded = b.bfloat16().float().numpy(), s.half().float().numpy()
    equal(half.numpy(), nms.nms(*rounded, 0.5, backend="reference"))
    with pytest.raises(TypeError, match=r"^box_area: boxes requires grad"):
        boxes.box_area(b.clone().requires_grad_())
    with pytest.raises(TypeError, match=r"^nms: boxes must be float16, float32, float64 or integer"):
        nms.nms(b.to(torch.complex64), s, 0.5)


def test_the_emulator_comes_back() -> None:
    """The emulator works again after a test of the real backend."""
    with emulated.real() as reason:
        assert fastdet.config()["backends"]["cuda"] == (reason or "available")
    assert "fastdet.nms._cuda" in sys.modules
