"""How an op becomes one of torch's: a schema, a kernel that calls the public function, a fake, a rule for vmap.

The kernel runs below autograd, function transforms and modes, on memory: it hands NumPy views to the public function, so
checks, error texts and numbers are the direct path's, and a call cannot come back here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from fastdet import _check
from fastdet._arrays import like, no_graph, to_numpy, writable
from fastdet._backends import NAMES

library = torch.library.Library("fastdet", "DEF")  # noqa: TOR901


def define(
    schema: str,
    public: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    half: bool = False,
    vmap: Callable[..., Any] | None = None,
) -> Any:
    """Register ``schema``, its arguments named as those of ``public``, without defaults; the op to call.

    ``half``: ``public`` takes bfloat16 as it is. ``vmap`` is the rule for a batch; None: one call per item, stacked.
    """
    name = schema.partition("(")[0]
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    op = getattr(torch.ops.fastdet, name).default
    arguments = [argument.name for argument in op._schema.arguments]
    back = like(torch.empty(0))

    def array(argument: str, x: Any) -> Any:
        if isinstance(x, torch.Tensor):  # a subclass that reaches a kernel is a plain tensor to it
            plain = x if type(x) is torch.Tensor else x.as_subclass(torch.Tensor)
            return to_numpy(public.__name__, argument, plain, half=half)
        if isinstance(x, list) and x and isinstance(x[0], torch.Tensor):
            return [array(argument, item) for item in x]
        return x

    def kernel(*given: Any) -> Any:
        result = public(**{key: array(key, x) for key, x in zip(arguments, given, strict=True)})
        if isinstance(result, tuple):
            return tuple(back(np.asarray(x)) for x in result)
        return back(np.asarray(result))

    library.impl(name, kernel, "CPU")
    torch.library.register_fake(f"fastdet::{name}", fake, lib=library)
    torch.library.register_vmap(f"fastdet::{name}", vmap or one_by_one(op), lib=library)
    return op


def one_by_one(op: Any) -> Callable[..., Any]:
    """vmap as a loop over the batch."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        def item(x: Any, dim: Any, i: int) -> Any:
            return x if dim is None or not isinstance(x, torch.Tensor) else x.select(dim, i)

        results = [op(*(item(x, dim, i) for x, dim in zip(args, in_dims, strict=True))) for i in range(info.batch_size)]
        if isinstance(results[0], tuple):
            return tuple(torch.stack(x) for x in zip(*results, strict=True)), (0,) * len(results[0])
        return torch.stack(results), 0

    return rule


def no_batch(name: str, instead: str) -> Callable[..., Any]:
    """vmap of an op whose results differ in size from item to item."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        raise NotImplementedError(f"{name}: results differ in size, so vmap cannot stack them; {instead}")

    return rule


# Arguments on their way to a schema. Kinds are checked here, since torch's own errors would come first; values and
# shapes are checked by the public function, inside the kernel.


def tensor(op: str, name: str, x: Any) -> Any:
    """A tensor as it is; an array or a list as a tensor of its values."""
    if isinstance(x, torch.Tensor):
        return x
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
    if not torch.compiler.is_compiling() and forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None:
        raise TypeError(no_graph(op, name))
    return x


def number(op: str, name: str, x: Any) -> Any:
    return x if isinstance(x, (float, torch.SymFloat, torch.SymInt)) else _check.number(op, name, x)


def count(op: str, name: str, x: Any) -> Any:
    return x if isinstance(x, torch.SymInt) else _check.count(op, name, x)


def limit(op: str, name: str, x: Any) -> Any:
    return None if x is None else count(op, name, x)


def backend_name(op: str, x: Any) -> str | None:
    return None if x is None else _check.choice(op, "backend", x, NAMES)


def into(op: str, out: Any, result: Any) -> Any:
    """``result`` written to a caller's ``out``; ``result`` itself where there is none."""
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


def unknown_size() -> Any:
    """The length of a result that depends on values."""
    return torch.library.get_ctx().new_dynamic_size()


_COMPUTED_IN_DOUBLE = {
    getattr(torch, name, None) for name in ("float64", "int32", "int64", "uint32", "uint64")
}  # as _check.COMPUTE says for NumPy


def computed(*xs: torch.Tensor) -> torch.dtype:
    """The dtype that boxes or scores of these dtypes are computed and returned in."""
    return torch.float64 if any(x.dtype in _COMPUTED_IN_DOUBLE for x in xs) else torch.float32
