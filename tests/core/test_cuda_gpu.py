"""The CUDA backend on a GPU: the table of ops by torch and CuPy, large inputs, graphs, streams.

Without a GPU all of it is skipped, and counted; FASTDET_REQUIRE_CUDA=1 makes that a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import FLOATS, comparable, equal
from op_tables import ARRAY_OPS
from op_tables import BOX_OPS as OPS
from optional import need
from samples import FAMILIES, Array, Sample, sample

import fastdet
from fastdet import boxes, losses, nms, pool, segmentation, upsample
from fastdet.segmentation import ConfusionMatrix

ROWS = [name for name, op in OPS.items() if "cuda" in op.backends and not name.endswith("out")]
SIZES = (0, 1, 31, 32, 33, 127, 128, 129, 513, 1025)
LIBRARIES = ("torch", "cupy")
IMAGE_ROWS = [(name, dtype) for name, op in ARRAY_OPS.items() if "cuda" in op.backends for dtype in op.dtypes]

each_row = pytest.mark.parametrize("name", ROWS)
each_library = pytest.mark.parametrize("library", LIBRARIES, indirect=True)


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    state = fastdet.config()["backends"]["cuda"]
    if state != "available":
        if os.environ.get("FASTDET_REQUIRE_CUDA", "0") not in ("", "0"):
            pytest.fail(f"FASTDET_REQUIRE_CUDA is set, and {state}")
        pytest.skip(f"no GPU: {state}")


@pytest.fixture
def library(request: pytest.FixtureRequest) -> Callable[[Array], Any]:
    """Puts a NumPy array on the GPU."""
    module = need(request.param)
    if request.param == "torch":
        return lambda x: module.from_numpy(np.array(x)).cuda()
    return lambda x: module.asarray(np.ascontiguousarray(x))


@pytest.fixture
def torch() -> Any:
    return need("torch")


def on_cpu(x: Any) -> Any:
    if isinstance(x, np.ndarray) and x.dtype.kind == "U":  # a refusal's text: see ops.Op.call
        return x
    if isinstance(x, tuple):
        parts = [on_cpu(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    assert type(x).__module__.split(".")[0] in LIBRARIES, type(x)
    return x.cpu().numpy() if hasattr(x, "cpu") else x.get()


def check(name: str, data: Sample, to_gpu: Callable[[Array], Any], want: Any = None) -> None:
    op = OPS[name]
    try:
        equal(on_cpu(op.call(data, None, to_gpu)), op.reference(data) if want is None else want)
    except AssertionError as error:
        raise AssertionError(f"{name} on {data.name}: {error}") from None


@each_library
@each_row
def test_small(library: Callable[[Array], Any], name: str) -> None:
    """compute-sanitizer runs these too."""
    for n in (0, 1, 33, 129):
        check(name, sample("clustered", n), library)
    check(name, sample("degenerate", 70, "float64"), library)


@pytest.mark.parametrize("name", ["nms", "batched_nms"])
def test_small_chunks(torch: Any, name: str) -> None:
    for n in (1025, 4097):
        data = sample("clustered", n)
        check(name, data, lambda x: torch.from_numpy(np.array(x)).cuda(), OPS[name].call(data, "cpp"))


@each_library
@pytest.mark.parametrize("dtype", FLOATS)
@each_row
def test_values(library: Callable[[Array], Any], name: str, dtype: str) -> None:
    for family in (*FAMILIES, *(("missing",) if OPS[name].nan else ())):
        check(name, sample(family, 70, dtype), library)
    for n in SIZES:
        if n <= OPS[name].largest:
            check(name, sample("clustered", n, dtype), library)


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("name", ["box_iou", "batched_nms", "soft_nms", "multiclass_nms", "box_convert"])
def test_dtypes(torch: Any, name: str, dtype: str) -> None:
    for family in ("clustered", "grid"):
        check(name, sample(family, 70, dtype), lambda x: torch.from_numpy(np.array(x)).cuda())


@pytest.mark.parametrize("n", [1023, 1024, 2049, 4096, 4097, 10_000, 100_000])
@pytest.mark.parametrize("name", ["nms", "nms ios", "batched_nms", "batched_nms limited", "remove_small_boxes"])
def test_large(torch: Any, name: str, n: int) -> None:
    for dtype in FLOATS:
        data = sample("clustered", n, dtype)
        check(name, data, lambda x: torch.from_numpy(np.array(x)).cuda(), OPS[name].call(data, "cpp"))


@pytest.mark.parametrize("name", ["soft_nms", "batched_soft_nms gaussian", "multiclass_nms"])
def test_large_soft(torch: Any, name: str) -> None:
    for n in (1025, 5000):
        data = sample("clustered", n)
        check(name, data, lambda x: torch.from_numpy(np.array(x)).cuda(), OPS[name].call(data, "cpp"))


def test_adversarial_chain(torch: Any) -> None:
    data = sample("chain", 20_000)
    check("nms", data, lambda x: torch.from_numpy(np.array(x)).cuda(), OPS["nms"].call(data, "cpp"))


def test_pairs_past_32_bits(torch: Any) -> None:
    """More than 2^32 bytes of result, and more rows than a grid has in y."""
    a = sample("uniform", 40_000).boxes
    b = sample("uniform", 30_000).boxes2
    got = boxes.box_iou(torch.from_numpy(np.array(a)).cuda(), torch.from_numpy(np.array(b)).cuda())
    rows = [0, 17, 39_999]
    equal(got[rows].cpu().numpy(), boxes.box_iou(a[rows], b))


def test_a_graph(torch: Any) -> None:
    """The padded form can be captured, and replayed on other boxes gives their answer."""
    from fastdet._core import device_arrays
    from fastdet.nms import _cuda

    first, second = sample("clustered", 3000, seed=1), sample("clustered", 3000, seed=2)
    b, s = torch.from_numpy(np.array(first.boxes)).cuda(), torch.from_numpy(np.array(first.scores)).cuda()

    def run() -> tuple[Any, Any]:
        arrays = device_arrays.from_torch(b, False), device_arrays.from_torch(s, False)
        keep, status = _cuda.nms_padded(*arrays, None, 0.5, None, -1, "iou")
        return keep.owner, status.owner

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()  # kernels are loaded before the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        keep, status = run()
    for data in (second, first):
        b.copy_(torch.from_numpy(np.array(data.boxes)))
        s.copy_(torch.from_numpy(np.array(data.scores)))
        graph.replay()
        equal(keep[: int(status[2])].cpu().numpy(), nms.nms(data.boxes, data.scores, 0.5))


def test_two_streams_at_once(torch: Any) -> None:
    samples = [sample("clustered", 4000, seed=i) for i in range(2)]
    inputs = [[torch.from_numpy(np.array(x)).cuda() for x in (g.boxes, g.scores)] for g in samples]
    streams = [torch.cuda.Stream() for _ in samples]
    torch.cuda.synchronize()
    for _ in range(20):
        results = []
        for stream, (b, s) in zip(streams, inputs, strict=True):
            with torch.cuda.stream(stream):
                results.append((nms.nms(b, s, 0.5), boxes.box_iou(b[:500], b)))
        torch.cuda.synchronize()
        for data, (keep, iou) in zip(samples, results, strict=True):
            equal(keep.cpu().numpy(), nms.nms(data.boxes, data.scores, 0.5))
            equal(iou.cpu().numpy(), boxes.box_iou(data.boxes[:500], data.boxes))


def test_out_of_memory(torch: Any) -> None:
    b = torch.zeros((2_000_000, 4), device="cuda")
    with pytest.raises(MemoryError, match="16000000000000 bytes"):
        boxes.box_iou(b, b)


def test_mixed(torch: Any) -> None:
    data = sample("clustered", 9)
    b, s = torch.from_numpy(np.array(data.boxes)), torch.from_numpy(np.array(data.scores))
    for call in (lambda: nms.nms(b.cuda(), s, 0.5), lambda: nms.nms(b, s.cuda(), 0.5)):
        with pytest.raises(TypeError, match="all arrays must be on one device"):
            call()


# Segmentation, resampling, pooling, losses.


def moved(x: Any, to_gpu: Callable[[Array], Any]) -> Any:
    """A case's arguments on the GPU; bfloat16 cases are tensors."""
    if type(x).__module__.startswith("torch") and hasattr(x, "cuda"):
        return x.cuda()
    if isinstance(x, np.ndarray):
        return to_gpu(x)
    if isinstance(x, dict):
        return {key: moved(value, to_gpu) for key, value in x.items()}
    return type(x)(moved(value, to_gpu) for value in x) if isinstance(x, (tuple, list)) else x


def back(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(back, x))
    if hasattr(x, "cpu"):
        x = x.cpu()
        return x.float().numpy() if str(x.dtype) == "torch.bfloat16" else x.numpy()
    return x.get()


@each_library
@pytest.mark.parametrize(("name", "dtype"), IMAGE_ROWS)
def test_images(library: Callable[[Array], Any], request: pytest.FixtureRequest, name: str, dtype: str) -> None:
    """compute-sanitizer runs these too: the first cases are small."""
    if dtype == "bfloat16" and request.node.callspec.params["library"] == "cupy":
        pytest.skip("CuPy has no bfloat16")
    op = ARRAY_OPS[name]
    for case in op.cases:
        args, options = moved(op.arguments(case, dtype), library)
        want = comparable(op.call(case, dtype, "cpp"))
        want = np.asarray(want) if isinstance(want, ConfusionMatrix) else want
        equal(back(op.public(*args, **options)), back(want) if hasattr(want, "cpu") else want)


def test_compiled(torch: Any) -> None:
    """torch.compile(fullgraph=True) on the GPU gives the values and gradients of eager mode."""

    def step(x: Any, target: Any) -> Any:
        values, indices = pool.max_pool2d(x, 2)
        full = upsample.upsample_bilinear(pool.max_unpool2d(values, indices, 2), scale_factor=2)
        return losses.cross_entropy(full, target) + losses.focal_loss(full, target)

    target = torch.randint(5, (2, 32, 32), device="cuda")
    x = torch.randn(2, 5, 16, 16, device="cuda")
    answers = []
    for run in (step, torch.compile(step, fullgraph=True)):
        data = x.clone().requires_grad_()
        loss = run(data, target)
        loss.backward()
        answers.append((loss.detach().cpu().numpy(), data.grad.cpu().numpy()))
    equal(answers[1], answers[0])
    on_host = x.cpu().requires_grad_()
    loss = step(on_host, target.cpu())
    loss.backward()
    equal(answers[0], (loss.detach().numpy(), on_host.grad.numpy()))


def test_a_fault_is_raised_by_a_later_call(torch: Any) -> None:
    x = torch.randn(1, 3, 8, 8, device="cuda")
    bad = torch.full((1, 8, 8), 7, device="cuda")
    assert torch.isnan(losses.cross_entropy(x, bad))
    torch.cuda.synchronize()
    with pytest.raises(ValueError, match=r"^cross_entropy: an earlier call on the GPU had a value out of range"):
        boxes.box_area(torch.zeros((1, 4), device="cuda"))
    boxes.box_area(torch.zeros((1, 4), device="cuda"))


def test_graph_of_images(torch: Any) -> None:
    """Losses, resampling, pooling and counting in a CUDA graph, replayed on other values."""

    def run() -> tuple[Any, ...]:
        full = upsample.upsample_bilinear(logits, scale_factor=2)
        values, indices = pool.max_pool2d(full, 2)
        loss, grad = losses.cross_entropy_with_grad(full, target)
        matrix = segmentation.confusion_matrix_from_logits(target, full)
        return full, values, indices, loss, grad, matrix

    rng = np.random.default_rng(0)
    logits = torch.zeros((2, 5, 32, 32), device="cuda")
    target = torch.zeros((2, 64, 64), dtype=torch.int64, device="cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    for _ in range(2):
        logits.copy_(torch.from_numpy(rng.normal(size=logits.shape).astype(np.float32)))
        target.copy_(torch.from_numpy(rng.integers(0, 5, target.shape)))
        graph.replay()
        torch.cuda.synchronize()
        got = tuple(x.clone() for x in captured)
        equal(back(got), back(run()))


def test_a_graph_is_the_first_call(torch: Any, python: Any) -> None:
    """The memory for faults can be allocated even while a stream is being captured."""
    python(
        """
import torch
from fastdet import losses
x, t = torch.randn(2, 5, 8, 8, device="cuda"), torch.zeros((2, 8, 8), dtype=torch.int64, device="cuda")
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    loss = losses.cross_entropy(x, t)
graph.replay()
assert abs(loss.item() - torch.nn.functional.cross_entropy(x, t).item()) < 1e-5
"""
    )


def test_a_failed_call_does_not_fail_the_next(torch: Any, python: Any) -> None:
    python(
        """
import torch
from fastdet import boxes, nms
b, s = torch.rand(9, 4, device="cuda"), torch.rand(9, device="cuda")
nms.nms(b, s, 0.5)
try:
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        nms.nms(b, s, 0.5)  # waits, which a capture forbids
except Exception as error:
    print(error)
else:
    raise SystemExit("no error")
assert boxes.box_area(b).shape == (9,)
"""
    )


def test_compiled_into_graphs(torch: Any) -> None:
    data = sample("clustered", 200)
    b = torch.from_numpy(np.array(data.boxes))[None].cuda()
    s = torch.from_numpy(np.array(data.scores))[None, :, None].cuda()
    run = torch.compile(lambda b, s: nms.multiclass_nms(b * 1, s * 1, 0.5), mode="reduce-overhead")
    want = nms.multiclass_nms(data.boxes[None], data.scores[None, :, None], 0.5)
    for _ in range(3):
        equal(tuple(x.cpu().numpy() for x in run(b, s)), tuple(want))
