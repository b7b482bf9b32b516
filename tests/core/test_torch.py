"""Ops through torch's dispatcher: compiled, exported, differentiated, batched, and equal to the direct call."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_calls
from optional import need
from samples import sample
from torch_calls import MERGED, head

import fastdet
from fastdet import boxes, losses, nms, pool, segmentation, sigmoid_focal, upsample, yolo
from fastdet._core import dispatch
from fastdet.box_losses import ciou_loss, diou_loss, giou_loss
from fastdet.losses import cross_entropy, dice_loss, focal_loss

pytestmark = [  # torch's own, of what it imports and compiles
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture
def torch() -> Any:
    module = need("torch")
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    return module


def detections(torch: Any) -> tuple[Any, Any, Any]:
    data = sample("clustered", 30)
    scores = torch.from_numpy(data.scores.copy())
    return torch.from_numpy(data.boxes.copy()), scores, torch.arange(30) % 3


def image(torch: Any, *shape: int) -> Any:
    """Distinct values in a fixed random order."""
    count = int(np.prod(shape or (2, 3, 6, 7)))
    return torch.from_numpy(np.random.default_rng(0).permutation(count) / 7.0).reshape(shape or (2, 3, 6, 7))


def labels(torch: Any) -> Any:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 6, 7)))


def pooled(x: Any) -> Any:
    return pool.max_pool2d(x, 2)


def upsample_backward(x: Any) -> Any:
    return upsample.upsample_bilinear_backward(x, (4, 5))


# Each call with the tensors it takes: (function, maker of its arguments).
Call = tuple[Callable[..., Any], Callable[[Any], tuple[Any, ...]]]
COUNTS: dict[str, Call] = {  # results whose size depends on values
    "nms": (lambda b, s, k: nms.nms(b, s, 0.5, score_threshold=0.1, max_output=9), detections),
    "batched_nms": (lambda b, s, k: nms.batched_nms(b, s, k, 0.5), detections),
    "soft_nms": (lambda b, s, k: nms.soft_nms(b, s, method="gaussian"), detections),
    "batched_soft_nms": (lambda b, s, k: nms.batched_soft_nms(b, s.double(), k), detections),
    "merge_boxes": (lambda b, s, k: nms.merge_boxes(b, s, 0.5), detections),
    **{name: (call, detections) for name, call in MERGED.items()},
    "remove_small_boxes": (lambda b, s, k: boxes.remove_small_boxes(b, 20), detections),
    "yolo_candidates": (lambda x: yolo.yolo_candidates(x, 0.5), lambda torch: (head(torch),)),
    "yolo_candidates with_extras": (
        lambda x: yolo.yolo_candidates(x, 0.5, layout="segment", classes=3, candidates_last=True),
        lambda torch: (head(torch),),
    ),
    "yolo_candidates end_to_end": (
        lambda x: yolo.yolo_candidates(x[:, :6], 0.5, layout="end_to_end", candidates_last=True),
        lambda torch: (head(torch, whole=True),),
    ),
}
FIXED: dict[str, Call] = {
    "multiclass_nms": (lambda b, s, k: nms.multiclass_nms(b[None], s[None, :, None], 0.5, max_output=7), detections),
    "yolo_postprocess": (lambda x: yolo.yolo_postprocess(x, max_output=9), lambda torch: (head(torch),)),
    "yolo_postprocess with_extras": (
        lambda x: yolo.yolo_postprocess(x, max_output=9, layout="pose", classes=1, candidates_last=True),
        lambda torch: (head(torch).float(),),
    ),
    "yolo_postprocess end_to_end": (
        lambda x: yolo.yolo_postprocess(x[:, :6], layout="end_to_end", candidates_last=True),
        lambda torch: (head(torch, whole=True),),
    ),
    "box_area": (lambda b, s, k: boxes.box_area(b), detections),
    "box_convert": (lambda b, s, k: boxes.box_convert(b, "xyxy", "xywh"), detections),
    "clip_boxes_to_image": (lambda b, s, k: boxes.clip_boxes_to_image(b, (20, 30)), detections),
    "box_iou": (lambda b, s, k: boxes.box_iou(b, b, iscrowd=k > 1), detections),
    "box_iou out": (lambda b, s, k: boxes.box_iou(b, b, out=b.new_empty(len(b), len(b))), detections),
    "generalized_box_iou": (lambda b, s, k: boxes.generalized_box_iou(b, b, aligned=True), detections),
    "distance_box_iou": (lambda b, s, k: boxes.distance_box_iou(b, b), detections),
    "complete_box_iou": (lambda b, s, k: boxes.complete_box_iou(b, b), detections),
    "confusion_matrix": (
        lambda t: segmentation.confusion_matrix(t, t.flip(0), 3, ignore_index=2),
        lambda torch: (labels(torch),),
    ),
    "confusion_matrix_from_logits": (
        lambda t, x: segmentation.confusion_matrix_from_logits(t, x, ignore_index=255, void="count"),
        lambda torch: (labels(torch), image(torch)),
    ),
    "max_pool2d compact": (lambda x: pool.max_pool2d(x, 3, 2, 1, compact=True), lambda torch: (image(torch),)),
}
SMOOTH: dict[str, Call] = {  # those with a gradient for the first argument
    "upsample_bilinear size": (lambda x: upsample.upsample_bilinear(x, (9, 4)), lambda torch: (image(torch),)),
    "upsample_bilinear scale_factor": (
        lambda x: upsample.upsample_bilinear(x, scale_factor=(1.7, 2)),
        lambda torch: (image(torch, 3, 4, 5),),
    ),
    "upsample_bilinear channels_last": (
        lambda x: upsample.upsample_bilinear(x, 8, align_corners=True, channels_last=True),
        lambda torch: (image(torch, 2, 4, 5, 3),),
    ),
    "upsample_bilinear memory": (
        lambda x: upsample.upsample_bilinear(x, (9, 4)),
        lambda torch: (image(torch).contiguous(memory_format=torch.channels_last),),
    ),
    "upsample_bilinear_backward": (upsample_backward, lambda torch: (image(torch),)),
    "max_pool2d": (lambda x: pooled(x)[0], lambda torch: (image(torch),)),
    "max_pool2d overlap": (
        lambda x: pool.max_pool2d(x, 3, 2, 1, return_indices=False),
        lambda torch: (image(torch),),
    ),
    "max_pool2d_backward": (
        lambda g, i: pool.max_pool2d_backward(g, i, (6, 7), 2),
        lambda torch: (image(torch, 2, 3, 3, 3), pooled(image(torch))[1]),
    ),
    "max_unpool2d": (
        lambda x, i: pool.max_unpool2d(x, i, 2, output_size=(6, 7)),
        lambda torch: (image(torch, 2, 3, 3, 3), pooled(image(torch))[1]),
    ),
    "max_unpool2d_backward": (
        lambda g, i: pool.max_unpool2d_backward(g, i, 2),
        lambda torch: (image(torch), pooled(image(torch))[1]),
    ),
}
LOSSES: dict[str, Call] = {
    "cross_entropy": (
        lambda x, t: cross_entropy(x, t, t.new_ones(3).cumsum(0).to(x.dtype), 2, label_smoothing=0.1),
        lambda torch: (image(torch), labels(torch)),
    ),
    "cross_entropy none": (
        lambda x, t: cross_entropy(x, t, reduction="none"),
        lambda torch: (image(torch).contiguous(memory_format=torch.channels_last), labels(torch)),
    ),
    "focal_loss": (lambda x, t: focal_loss(x, t, 0.25, gamma=1.5), lambda torch: (image(torch), labels(torch))),
    "cross_entropy soft": (
        lambda x, soft: cross_entropy(x, soft, label_smoothing=0.1),
        lambda torch: (image(torch) / 10, (image(torch).flip(1) / 10).softmax(1)),
    ),
    "ohem_cross_entropy": (
        lambda x, t: losses.ohem_cross_entropy(x, t, None, 2, 0.4, threshold=3),
        lambda torch: (image(torch), labels(torch)),
    ),
    "tversky_loss": (
        lambda x, t: losses.tversky_loss(x, t, 0.3, 0.7, 2),
        lambda torch: (image(torch), labels(torch)),
    ),
    "lovasz_softmax_loss": (
        lambda x, t: losses.lovasz_softmax_loss(x / 9, t, 2, per_image=True),
        lambda torch: (image(torch), labels(torch)),
    ),
    "lovasz_hinge_loss": (
        lambda x, t: losses.lovasz_hinge_loss(x[:, 0], (t == 1).long()),
        lambda torch: (image(torch) / 31.7 - 0.93, labels(torch)),
    ),
    "dice_loss": (lambda x, t: dice_loss(x, t, 2), lambda torch: (image(torch), labels(torch))),
    "sigmoid_focal_loss": (
        lambda x: sigmoid_focal.sigmoid_focal_loss(x, (x > 30).to(x.dtype), gamma=1.5),
        lambda torch: (image(torch) / 10 - 3,),
    ),
    "giou_loss": (lambda a, b: giou_loss(a, b), lambda torch: two(torch)),
    "diou_loss": (lambda a, b: diou_loss(a, b, "mean"), lambda torch: two(torch)),
}
CIOU: dict[str, Call] = {"ciou_loss": (lambda a, b: ciou_loss(a, b, "sum"), lambda torch: two(torch))}
COUNTS.update((name, (call, detections)) for name, call in torch_calls.COUNTS.items())
FIXED.update((name, (call, detections)) for name, call in torch_calls.FIXED.items())
SMOOTH.update((name, (call, lambda torch: (image(torch, 2, 4, 6, 7),))) for name, call in torch_calls.MAPS.items())
SMOOTH.update((name, (call, lambda torch: (image(torch, 4, 4, 2, 2),))) for name, call in torch_calls.GRADIENTS.items())
CALLS = {**COUNTS, **FIXED, **SMOOTH, **LOSSES, **CIOU}
DIFFERENTIABLE = {**SMOOTH, **LOSSES, **CIOU}


def two(torch: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    corner, side = rng.random((2, 5, 2)) * 5, 1 + rng.random((2, 5, 2)) * 8
    return tuple(torch.from_numpy(np.concatenate([corner, corner + side], 2)))


def results(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def check_equal(got: Any, want: Any) -> None:
    for g, w in zip(results(got), results(want), strict=True):
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        np.testing.assert_array_equal(g.detach().numpy(), w.detach().numpy())


def recorder(torch: Any) -> Any:
    """A dispatch mode that records the calls of fastdet's ops."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[Any, Any]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.namespace == "fastdet":
                self.calls.append((func, args))
            return func(*args, **(kwargs or {}))

    return Recorder()


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(torch: Any, name: str) -> None:
    """torch's opcheck (schema, fake, gradient) of each op in the call and in its backward pass."""
    call, make = CALLS[name]
    args = make(torch)
    with recorder(torch) as mode:
        got = call(*args)
        if name in DIFFERENTIABLE:
            call(args[0].clone().requires_grad_(), *args[1:]).sum().backward()
    check_equal(got, call(*args))
    assert mode.calls
    for op, arguments in mode.calls:
        torch.library.opcheck(op, tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in arguments))
        if name not in DIFFERENTIABLE or "values" in op.name():
            continue
        utilities = ["test_schema", "test_autograd_registration", "test_faketensor"]
        if "with_grad" not in op.name():  # whose further outputs are gradients, without gradients of their own
            utilities.append("test_aot_dispatch_dynamic")
        torch.library.opcheck(op, (arguments[0].detach().requires_grad_(), *arguments[1:]), test_utils=utilities)


def test_every_op_is_checked(torch: Any) -> None:
    elsewhere = {
        "multiscale_roi_align",
        "multiscale_roi_align_backward",
    }  # tests/roi/test_multiscale.py: they take lists
    names = {name.split()[0] for name in CALLS} | {"max_pool2d_values"}  # max_pool2d without indices
    assert names == {*registered_ops()} - elsewhere


def registered_ops() -> Iterator[str]:
    """Every function of an area's `_torch` is called by the public function of its name."""
    for path in Path(fastdet.__file__).parent.glob("*/_torch.py"):
        module = importlib.import_module(f"fastdet.{path.parent.name}._torch")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                yield name


@pytest.mark.parametrize("name", CALLS)
def test_compile(torch: Any, name: str) -> None:
    """Ops and their gradients compile to one graph, with fixed and with symbolic shapes."""
    call, make = CALLS[name]
    args = make(torch)
    want = call(*args)
    for dynamic in (False, True):
        compiled = torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=dynamic)
        check_equal(compiled(*args), want)
        if name in DIFFERENTIABLE:
            check_equal(derivative(torch, compiled, args), derivative(torch, call, args))
    check_equal(torch.export.export(module(torch, call), args, strict=False).module()(*args), want)


def module(torch: Any, call: Callable[..., Any]) -> Any:
    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            result = call(*args)
            return tuple(result) if isinstance(result, tuple) else result

    return Wrapped()


def derivative(torch: Any, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    x = args[0].detach().clone(memory_format=torch.preserve_format).requires_grad_()
    (grad,) = torch.autograd.grad((call(x, *args[1:]) ** 2).sum(), x)
    assert not grad.requires_grad
    return grad


@pytest.mark.parametrize("name", {**SMOOTH, **LOSSES})  # complete IoU: its alpha is a constant to the gradient
def test_gradcheck(torch: Any, name: str) -> None:
    call, (x, *rest) = DIFFERENTIABLE[name][0], DIFFERENTIABLE[name][1](torch)
    x.requires_grad_()
    eps = 0.01 if "pool" in name or "upsample" in name else 1e-6  # linear where no maximum changes
    assert torch.autograd.gradcheck(lambda x: call(x, *rest), x, eps=eps)
    if name in SMOOTH:
        assert torch.autograd.gradgradcheck(lambda x: call(x, *rest), x, eps=eps)


@pytest.mark.parametrize("name", {**LOSSES, **CIOU})
def test_losses_are_differentiated_once(torch: Any, name: str) -> None:
    call, make = DIFFERENTIABLE[name]
    x, *rest = make(torch)
    x.requires_grad_()
    loss = (call(x, *rest) ** 2).sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)[0].clone()
    check_equal(torch.autograd.grad(loss, x, create_graph=True)[0], first)
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(NotImplementedError, match=f"^{name.split()[0]}: has no second derivative$"):
        torch.autograd.grad(grad.sum(), x, retain_graph=True)
    check_equal(torch.autograd.grad(loss, x)[0], first)


def test_both_boxes_have_gradients(torch: Any) -> None:
    a, b = (x.requires_grad_() for x in two(torch))
    assert torch.autograd.gradcheck(giou_loss, (a, b))
    assert torch.autograd.gradcheck(diou_loss, (a, b))
    (both,) = torch.autograd.grad(giou_loss(a, b).sum(), b, retain_graph=True)
    check_equal(torch.autograd.grad(giou_loss(a.detach(), b).sum(), b)[0], both)


@pytest.mark.parametrize("name", {**FIXED, **DIFFERENTIABLE})
def test_vmap(torch: Any, name: str) -> None:
    call, make = CALLS[name]
    if name == "box_iou out":
        pytest.skip("out= is not batched")
    args = make(torch)
    batch = [tuple(x.flip(0) if i else x for x in args) for i in range(2)]
    want = [results(call(*item)) for item in batch]
    got = results(torch.vmap(call)(*(torch.stack(x) for x in zip(*batch, strict=True))))
    check_equal(got, tuple(torch.stack(x) for x in zip(*want, strict=True)))
    if name in DIFFERENTIABLE:
        grad = torch.func.grad(lambda *x: call(*x).sum())
        per_item = torch.vmap(grad)(*(torch.stack(x) for x in zip(*batch, strict=True)))
        for g, item in zip(per_item, batch, strict=True):
            check_equal(g, grad(*item))


@pytest.mark.parametrize("name", COUNTS)
def test_vmap_of_counts(torch: Any, name: str) -> None:
    call, make = CALLS[name]
    text = f"^{name.split()[0]}: results differ in size, so vmap cannot stack them"
    with pytest.raises(NotImplementedError, match=text):
        torch.vmap(call)(*(torch.stack([x, x]) for x in make(torch)))


ERRORS: dict[str, Callable[[Any, Any], Any]] = {
    "threshold kind": lambda b, x: nms.nms(b, b[:, 0], "x"),
    "threshold range": lambda b, x: nms.nms(b, b[:, 0], 2),
    "shape": lambda b, x: nms.nms(b[:3], b[:, 0], 0.5),
    "value": lambda b, x: nms.nms(b / 0 - b / 0, b[:, 0], 0.5),
    "list": lambda b, x: nms.nms(b, "abc", 0.5),
    "dtype": lambda b, x: nms.batched_nms(b, b[:, 0], b[:, 0], 0.5),
    "count": lambda b, x: nms.nms(b, b[:, 0], 0.5, max_output=1.5),
    "backend": lambda b, x: nms.nms(b, b[:, 0], 0.5, backend="fast"),
    "size": lambda b, x: boxes.clip_boxes_to_image(b, 3),
    "out": lambda b, x: boxes.box_iou(b, b, out=b.new_empty(3)),
    "out dtype": lambda b, x: boxes.box_iou(b, b, out=b.new_empty(30, 30).double()),
    "both sizes": lambda b, x: upsample.upsample_bilinear(x, 3, 2),
    "no size": lambda b, x: upsample.upsample_bilinear(x),
    "size kind": lambda b, x: upsample.upsample_bilinear(x, 2.5),
    "scale": lambda b, x: upsample.upsample_bilinear(x, scale_factor=-1),
    "axes": lambda b, x: upsample.upsample_bilinear(x[None], 3),
    "window": lambda b, x: pool.max_pool2d(x, (1, 2, 3)),
    "padding": lambda b, x: pool.max_pool2d(x, 2, 2, 2),
    "unpooled": lambda b, x: pool.max_unpool2d(x, (x * 0).long(), 2, output_size=(99, 3)),
    "indices": lambda b, x: pool.max_unpool2d(x, (x * 0).long() - 1, 2),
    "reduction": lambda b, x: cross_entropy(x, (x[:, 0] * 0).long(), reduction="all"),
    "label": lambda b, x: cross_entropy(x, (x[:, 0] * 0).long() + 3),
    "smoothing": lambda b, x: cross_entropy(x, (x[:, 0] * 0).long(), label_smoothing=2),
    "gamma": lambda b, x: focal_loss(x, (x[:, 0] * 0).long(), gamma="x"),
    "targets": lambda b, x: sigmoid_focal.sigmoid_focal_loss(x, x[0].detach()),
    "void": lambda b, x: segmentation.confusion_matrix(b.long(), b.long(), 300, void="x"),
    "classes": lambda b, x: segmentation.confusion_matrix(b.long(), b.long(), 0),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_the_same(torch: Any, case: str) -> None:
    """Direct calls, calls through the dispatcher, and calls with a gradient."""
    b, x = detections(torch)[0], image(torch)
    texts = []
    for mode, wanted in ((torch.no_grad(), False), (recorder(torch), False), (torch.enable_grad(), True)):
        with mode, pytest.raises((TypeError, ValueError, NotImplementedError)) as error:
            ERRORS[case](b, x.clone().requires_grad_(wanted))
        texts.append((error.type, str(error.value)))
    assert texts[0] == texts[1] == texts[2]


def test_which_calls_are_registered(torch: Any) -> None:
    registered = partial(dispatch.registered, "fastdet.boxes.overlap")
    plain, wants = torch.zeros(3), torch.zeros(3, requires_grad=True)
    for x in (plain, torch.nn.Parameter(plain, requires_grad=False), np.zeros(3), [1.0], None):
        assert registered(x) is None
    assert registered(wants) is not None
    assert registered(plain, wants) is not None
    assert registered(wants, grad=False) is None
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert registered(wants) is None
    assert registered(plain.to("meta")) is not None
    with recorder(torch), torch.no_grad():
        assert registered(plain) is not None
    with torch.autocast("cpu"):
        assert registered(plain) is not None
    with torch.device("cpu"):  # a function mode
        assert registered(plain) is not None
    with torch.autograd.forward_ad.dual_level():
        assert registered(plain) is not None
    registrations = []
    torch.vmap(lambda x: registrations.append(registered(x)) or x)(plain)
    torch.func.grad(lambda x: registrations.append(registered(x)) or x.sum())(plain)
    assert None not in registrations


def test_tangents_are_not_lost(torch: Any) -> None:
    b, x = detections(torch)[0], image(torch)
    with pytest.raises(TypeError, match=r"^box_iou: boxes1 requires grad and box_iou keeps no graph"):
        torch.func.jvp(lambda b: boxes.box_iou(b, b), (b,), (b,))
    with pytest.raises(TypeError, match=r"^upsample_bilinear: out must be None where x has a tangent, got Tensor$"):
        torch.func.jvp(lambda x: upsample.upsample_bilinear(x, 4, out=x.new_empty(2, 3, 4, 4)), (x,), (x,))


@pytest.mark.parametrize("name", SMOOTH)
def test_forward_mode(torch: Any, name: str) -> None:
    """The tangent is the derivative that the backward pass gives; also batched, nested and without torch.func."""
    call, (x, *rest) = SMOOTH[name][0], SMOOTH[name][1](torch)

    def f(x: Any) -> Any:
        return call(x, *rest)

    value, tangent = torch.func.jvp(f, (x,), (x.cos(),))
    check_equal(value, f(x))
    _, want = torch.autograd.functional.jvp(f, x, x.cos())  # by two backward passes
    torch.testing.assert_close(tangent, want, rtol=1e-12, atol=1e-12)
    with torch.autograd.forward_ad.dual_level():
        dual = f(torch.autograd.forward_ad.make_dual(x, x.cos()))
        check_equal(torch.autograd.forward_ad.unpack_dual(dual).tangent, tangent)
    assert torch.autograd.gradcheck(
        f, x.clone().requires_grad_(), eps=0.01, check_forward_ad=True, check_backward_ad=False
    )
    small = torch.stack([x, x.sin()])
    batched = torch.vmap(lambda x, t: torch.func.jvp(f, (x,), (t,))[1])(small, small.cos())
    for i in range(2):
        check_equal(batched[i], torch.func.jvp(f, (small[i],), (small[i].cos(),))[1])
    _, second = torch.func.jvp(lambda x: torch.func.grad(lambda y: (f(y) ** 3).sum())(x), (x,), (x.cos(),))
    (by_backward,) = torch.autograd.functional.hvp(lambda y: (f(y) ** 3).sum(), x, x.cos())[1:]
    torch.testing.assert_close(second, by_backward)


def test_meta(torch: Any) -> None:
    """Ops on the meta device give shapes without memory."""
    x = torch.zeros(2, 3, 8, 8, device="meta")
    values, indices = pooled(x)
    y = upsample.upsample_bilinear(pool.max_unpool2d(values, indices, 2), scale_factor=2)
    assert y.is_meta
    assert y.shape == (2, 3, 16, 16)


def test_out_with_a_gradient(torch: Any) -> None:
    x = image(torch).requires_grad_()
    with pytest.raises(TypeError, match=r"^upsample_bilinear: out must be None where x requires grad, got Tensor$"):
        upsample.upsample_bilinear(x, 4, out=x.new_empty(2, 3, 4, 4))


def test_autocast(torch: Any) -> None:
    """Losses of halves are float32, as torch's; other ops keep their input's dtype."""
    x, t = image(torch).bfloat16(), labels(torch)
    for wanted in (False, True):
        with torch.autocast("cpu"):
            loss = cross_entropy(x.requires_grad_(wanted), t)
            assert loss.dtype is torch.float32
            assert upsample.upsample_bilinear(x, 9).dtype is torch.bfloat16
    loss.backward()
    assert x.grad.dtype is torch.bfloat16
    assert cross_entropy(x.detach(), t).dtype is torch.bfloat16


def test_backward_holds_one_gradient(torch: Any) -> None:
    """The forward pass computes the gradient; the backward pass scales it in place, unless the graph is kept."""
    x, t = image(torch).requires_grad_(), labels(torch)
    loss = cross_entropy(x, t)
    kept = loss.grad_fn.saved_tensors[0].data_ptr()
    (grad,) = torch.autograd.grad(loss * 3, x)
    assert grad.data_ptr() == kept
    loss = cross_entropy(x, t) * 3
    first = torch.autograd.grad(loss, x, retain_graph=True)[0]
    check_equal(torch.autograd.grad(loss, x)[0], first)
