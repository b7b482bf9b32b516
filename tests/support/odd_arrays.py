"""Calls the functions of the C++ module with odd arrays: a program of its own, since it may crash.

For each call that works, each array in turn is replaced by an odd one. Prints a line for each before it is made, and
`accepted` behind those that must be refused and are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from changing_arrays import rows
from samples import Array

from fastdet import _cpp

COPIES = ("join_records", "encode_records")  # they convert what is not contiguous


def odd(x: Array) -> Iterator[tuple[str, Array, bool]]:
    """(name, array, whether it must be refused)"""
    yield "complex", x.astype(np.complex64), True
    yield "an object", x.astype(object), True
    yield "one more axis", x[None], False
    yield "flat", x.reshape(-1), False
    yield "no axis", np.zeros((), x.dtype), False
    read_only = x.copy()
    read_only.setflags(write=False)
    yield "read-only", read_only, False
    if x.dtype.itemsize > 1:
        yield "swapped bytes", x.astype(x.dtype.newbyteorder()), True
        unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        unaligned[...] = x
        yield "not aligned", unaligned, True
    if x.ndim:
        yield "empty", x[:0], False
        yield "no column", x[..., :0], False
        yield "longer", np.concatenate([x, x[:1]]), False
        yield "shorter", x[:-1], False
        many = x.size > 1 and x.shape[-1] > 1
        yield "spread", np.repeat(x, 2, axis=-1)[..., ::2], many
        yield "backwards", x[..., ::-1], many
        yield "one for all", np.broadcast_to(x.reshape(-1)[:1].reshape((1,) * x.ndim), x.shape), many
    if x.ndim == 2 and x.shape[-1] == 4:
        yield "(N, 0, 4)", np.zeros((len(x), 0, 4), x.dtype), True
        yield "(N, 1, 4)", x[:, None], False


def calls() -> dict[str, list[tuple[Any, ...]]]:
    """Arguments of each function of the module that works on arrays: those of its first calls."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    own = {name: getattr(_cpp, name) for name in dir(_cpp) if callable(getattr(_cpp, name)) and name[0] != "_"}

    def noting(name: str) -> Any:
        def called(*args: Any) -> Any:
            if len(found.setdefault(name, [])) < 4:
                found[name].append(args)
            return own[name](*args)

        return called

    for name in own:
        setattr(_cpp, name, noting(name))
    for make in rows("cpp", False).values():
        for _, (public, (args, options)) in list(make())[:2]:
            name = getattr(public, "__name__", "")
            (noting(name) if own.get(name) is public else public)(*args, **options)
    for name, function in own.items():
        setattr(_cpp, name, function)
    return found


def arrays_of(args: Any) -> Iterator[tuple[Any, Array, Any]]:
    """(place, array, a function that gives the arguments with another array there)"""
    for i, x in enumerate(args):
        if isinstance(x, np.ndarray):
            yield i, x, lambda y, i=i: (*args[:i], y, *args[i + 1 :])
        elif isinstance(x, list) and x and isinstance(x[0], np.ndarray):
            yield i, x[0], lambda y, i=i, x=x: (*args[:i], [y, *x[1:]], *args[i + 1 :])


def main() -> None:
    warnings.simplefilter("ignore")
    for name, all_args in calls().items():
        function = getattr(_cpp, name)
        for args in all_args:
            for place, x, replaced in arrays_of(args):
                for what, y, refused in odd(x):
                    print(f"{name}, argument {place}, {what}", flush=True)
                    try:
                        result = function(*replaced(y))
                    except (TypeError, ValueError, IndexError):
                        continue
                    if refused and name not in COPIES and result is not None:  # None: `nms_quick`'s refusal
                        print("accepted", name, place, what, y.dtype, y.shape, flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main()
