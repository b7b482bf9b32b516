"""Register ops with torch: a schema, a kernel that calls the public function, a fake kernel, a rule for vmap.

The kernel runs below autograd, function transforms and modes. It passes NumPy views (`DeviceArray`s of CUDA tensors) to
the public function, so checks, error texts and numbers are those of a direct call, and the call cannot come back here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastdet._core import check
from fastdet._core.arrays import no_graph, plain, to_array, to_numpy, to_torch, writable
from fastdet._core.backends import NAMES
from fastdet._core.layout import CHANNELS_INSIDE, CHANNELS_OUTSIDE, neighbours

forward_ad: Any = torch.autograd.forward_ad
library: Any = torch.library.Library("fastdet", "DEF")  # type: ignore[no-untyped-call]


def _stays(library: Any) -> None:
    """Leave the ops registered when the interpreter ends: daemon threads may still be in them."""
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        alive = finalizer.peek()
        if alive is not None and alive[0] is library:
            finalizer.atexit = False


_stays(library)


def define(
    schema: str,
    public: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    half: bool = False,
    waits: bool = False,
    vmap: Callable[..., Any] | None = None,
) -> Any:
    """Register an op and return it. ``schema`` names its arguments as ``public`` does, without defaults.

    ``half``: ``public`` takes bfloat16 as it is. ``waits``: on a GPU the op reads something back although the size of
    its results is known, so compilers must leave it out of CUDA graphs. ``vmap`` makes the op's rule for a batch; None:
    one call for each item.
    """
    name = schema.partition("(")[0]
    unsafe = (getattr(torch.Tag, "cudagraph_unsafe", None),) if waits else ()  # torch 2.9 or later
    library.define(schema, tags=tuple(tag for tag in (torch.Tag.pt2_compliant_tag, *unsafe) if tag is not None))
    op = getattr(torch.ops.fastdet, name).default
    arguments = [argument.name for argument in op._schema.arguments]

    def array(argument: str, x: Any) -> Any:
        if isinstance(x, torch.Tensor):  # a kernel treats a subclass as a plain tensor
            plain = x if type(x) is torch.Tensor else x.as_subclass(torch.Tensor)
            return to_array(public.__name__, argument, plain, half=half)
        if isinstance(x, list) and x and isinstance(x[0], torch.Tensor):
            return [array(argument, item) for item in x]
        return x

    def kernel(*values: Any) -> Any:
        result = public(**{key: array(key, x) for key, x in zip(arguments, values, strict=True)})
        if isinstance(result, tuple):
            return tuple(map(tensor_of, _flat(result)))
        return tensor_of(result)

    def tensor_of(x: Any) -> Any:
        return x.owner if hasattr(x, "owner") else to_torch(np.asarray(x))

    for key in ("CPU", "CUDA"):
        library.impl(name, kernel, key)
    torch.library.register_fake(f"fastdet::{name}", fake, lib=library)
    torch.library.register_vmap(f"fastdet::{name}", (vmap or one_by_one)(op), lib=library)
    return op


def _flat(xs: tuple[Any, ...]) -> list[Any]:
    return [y for x in xs for y in (_flat(x) if isinstance(x, tuple) else [x])]


def in_onnx_export() -> bool:
    """Whether torch exports a network to ONNX, by either exporter: then ops are written in aten's ops."""
    return bool(torch.onnx.is_in_onnx_export())


def gradient(
    op: Any,
    keep: Callable[..., None],
    backward: Callable[..., Any],
    vmap: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """The op with a gradient: ``keep(ctx, inputs, output)`` in the forward pass, ``backward(ctx, *grads)`` after it.

    ``jvp(ctx, *tangents)``: the tangents of the results, None for those that have none; what it needs of tensors,
    ``keep`` saves by ``ctx.save_for_forward``. torch's registration of gradients covers neither function transforms
    (torch.func) nor forward mode: they get an autograd.Function.
    """
    torch.library.register_autograd(op.name(), backward, setup_context=keep, lib=library)
    in_transform: Any = type(
        op._schema.name.partition("::")[2],
        (torch.autograd.Function,),
        {
            "forward": staticmethod(lambda *args: op(*args)),
            "setup_context": staticmethod(keep),
            "backward": staticmethod(backward),
            "vmap": staticmethod((vmap or one_by_one)(lambda *args: in_transform.apply(*args))),
            **({} if jvp is None else {"jvp": staticmethod(jvp)}),
        },
    )

    def call(*args: Any) -> Any:
        is_forward = forward_ad._current_level >= 0
        if torch.compiler.is_compiling():
            if not is_forward or jvp is None:
                return op(*args)
            torch._dynamo.graph_break()  # it cannot trace a derivative of ours, and would make it 0
            return in_transform.apply(*args)
        if is_forward or torch._C._functorch.peek_interpreter_stack() is not None:
            return in_transform.apply(*args)
        return op(*args)

    return call


def one_by_one(op: Any) -> Callable[..., Any]:
    """A rule for vmap: a loop over the batch."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        def item(x: Any, dim: Any, i: int) -> Any:
            if isinstance(x, list) and isinstance(dim, (list, tuple)):
                return [item(one, its, i) for one, its in zip(x, dim, strict=True)]
            return x if dim is None or not isinstance(x, torch.Tensor) else x.select(dim, i)

        results = [op(*(item(x, dim, i) for x, dim in zip(args, in_dims, strict=True))) for i in range(info.batch_size)]
        if isinstance(results[0], tuple):
            return tuple(torch.stack(x) for x in zip(*results, strict=True)), (0,) * len(results[0])
        return torch.stack(results), 0

    return rule


def folded(images: int) -> Callable[..., Any]:
    """A rule for vmap of an op on images: its first ``images`` arguments get one more leading axis."""

    def make(op: Any) -> Callable[..., Any]:
        def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
            def lead(x: Any, dim: Any) -> Any:
                x = x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
                return x.flatten(0, 1) if x.ndim > 4 else x

            xs = [lead(x, dim) for x, dim in zip(args[:images], in_dims, strict=False)]
            fold = args[0].ndim > 4 if in_dims[0] is not None else args[0].ndim > 3
            result = op(*xs, *args[images:])
            if isinstance(result, tuple):
                return tuple(split(x, info.batch_size, fold) for x in result), (0,) * len(result)
            return split(result, info.batch_size, fold), 0

        return rule

    def split(x: Any, batch: int, fold: bool) -> Any:
        return x.unflatten(0, (batch, x.shape[0] // batch)) if fold else x

    return make


def no_batch(name: str, instead: str) -> Callable[..., Any]:
    """A rule for vmap that raises, for an op whose results differ in size from item to item."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        raise NotImplementedError(f"{name}: results differ in size, so vmap cannot stack them; {instead}")

    return lambda op: rule


# Arguments of a schema. Their types are checked here, since torch's own errors would come before ours. The public
# function checks values and shapes, inside the kernel.


def tensor(op: str, name: str, x: Any) -> Any:
    """A plain tensor, see `arrays.plain`; an array or a list as a tensor of its values."""
    if isinstance(x, torch.Tensor):
        return x if torch.compiler.is_compiling() else plain(op, name, x)
    array = to_numpy(op, name, x)
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def detached(op: str, name: str, x: Any) -> Any:
    """As `tensor`, for an op whose results have no gradient."""
    x = tensor(op, name, x)
    return x.detach() if x.requires_grad else x


def without_graph(op: str, name: str, x: Any) -> Any:
    """As `tensor`, for an op that refuses a tensor whose gradient (or tangent) it would lose."""
    x = tensor(op, name, x)
    if x.requires_grad:
        if torch.is_grad_enabled():
            raise TypeError(no_graph(op, name))
        x = x.detach()
    if has_tangent(x):
        raise TypeError(no_graph(op, name))
    return x


def differentiable(op: str, name: str, x: Any, out: Any = None, *, forward: bool = False) -> Any:
    """As `tensor`, for an op that has a gradient; with ``out`` it has none. Results keep the class of a subclass.

    ``forward``: the op has a forward-mode derivative too.
    """
    values = tensor(op, name, x)  # refuses boxes of another format
    x = x if isinstance(x, torch.Tensor) else values
    if (not forward or out is not None) and has_tangent(x):
        if forward:
            raise TypeError(f"{op}: out must be None where {name} has a tangent, got {type(out).__name__}")
        raise NotImplementedError(f"{op}: {name} must not have a tangent: the op has no forward-mode derivative")
    if out is not None and x.requires_grad and torch.is_grad_enabled():
        raise TypeError(f"{op}: out must be None where {name} requires grad, got {type(out).__name__}")
    return x


def has_tangent(x: Any) -> bool:
    """Whether forward-mode differentiation has given ``x`` a tangent."""
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return False
    return forward_ad.unpack_dual(x).tangent is not None


def wants_gradient(*xs: Any) -> bool:
    """Whether a gradient may be wanted; yes for a wrapper of a function transform, which may hide it."""
    if not torch.is_grad_enabled():
        return False
    if any(x.requires_grad for x in xs):
        return True
    return not torch.compiler.is_compiling() and any(map(torch._C._functorch.is_functorch_wrapped_tensor, xs))


def single(x: Any) -> Any:
    """A half tensor as float32 under autocast, as torch does for losses: a gradient in half could underflow."""
    half = x.dtype is torch.float16 or x.dtype is torch.bfloat16
    return x.float() if half and torch.is_autocast_enabled(x.device.type) else x


def number(op: str, name: str, x: Any) -> Any:
    return x if isinstance(x, (float, torch.SymFloat, torch.SymInt)) else check.number(op, name, x)


def count(op: str, name: str, x: Any) -> Any:
    return x if isinstance(x, torch.SymInt) else check.count(op, name, x)


def limit(op: str, name: str, x: Any) -> Any:
    return None if x is None else count(op, name, x)


def backend_name(op: str, x: Any) -> Any:
    return x if x is None or isinstance(x, str) else check.choice(op, "backend", x, NAMES)


def into(op: str, out: Any, result: Any) -> Any:
    """Write ``result`` to a caller's ``out`` and return that; ``result`` itself where ``out`` is None."""
    if out is None:
        return result
    target = out if isinstance(out, torch.Tensor) else torch.from_numpy(writable(op, "out", out))
    if target.dtype != result.dtype:
        raise TypeError(f"{op}: out must be {_word(result.dtype)}, got {_word(target.dtype)}")
    if target.shape != result.shape:
        raise ValueError(f"{op}: out must have shape {tuple(result.shape)}, got {tuple(target.shape)}")
    if target.requires_grad and torch.is_grad_enabled():
        raise TypeError(no_graph(op, "out"))
    target.copy_(result)
    return out


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def traced_size(x: Any) -> Any:
    """Sizes that `torch.jit.trace` records, as a tensor; None outside of a trace, and where they are numbers.

    A trace writes a list of sizes down as the numbers that it saw, and would give each later image their size.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is None:
        return None
    sizes = list(x) if isinstance(x, (tuple, list)) else [x, x]
    if not any(isinstance(size, torch.Tensor) for size in sizes):
        return None
    return torch.stack([x if isinstance(x, torch.Tensor) else torch.full((), x) for x in sizes])


def unknown_size() -> Any:
    """The length of a result that depends on values."""
    return torch.library.get_ctx().new_dynamic_size()


def image_like(x: Any, size: Any, channels_last: bool = False, dtype: torch.dtype | None = None) -> Any:
    """An empty image of another height and width, in the memory order that `layout` gives the result for ``x``."""
    if x.ndim not in (2, 3, 4):
        raise ValueError(f"an image must have 2, 3 or 4 axes, got shape {tuple(x.shape)}")
    whole = x[(None,) * (4 - x.ndim)]
    to_other, to_own = ((0, 3, 1, 2), (0, 2, 3, 1)) if channels_last else ((0, 2, 3, 1), (0, 3, 1, 2))
    shape = (whole.shape[0], *size, whole.shape[3]) if channels_last else (*whole.shape[:2], *size)
    if not whole.is_contiguous() and whole.shape[3 if channels_last else 1] > 1:
        inside = CHANNELS_OUTSIDE if channels_last else CHANNELS_INSIDE
        if whole.permute(to_other).is_contiguous() or neighbours(whole.shape, whole.stride(), inside):
            y = x.new_empty([shape[i] for i in to_other], dtype=dtype).permute(to_own)
            return y[(0,) * (4 - x.ndim)]
    return x.new_empty(shape[4 - x.ndim :], dtype=dtype)


_COMPUTED_IN_DOUBLE = {
    getattr(torch, name, None) for name in ("float64", "int32", "int64", "uint32", "uint64")
}  # `check.COMPUTE`, for torch


def computed(*xs: torch.Tensor) -> torch.dtype:
    """The dtype that boxes or scores of these dtypes are computed and returned in."""
    return torch.float64 if any(x.dtype in _COMPUTED_IN_DOUBLE for x in xs) else torch.float32
