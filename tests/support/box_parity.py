"""One op on one sample: a backend's answer against the reference's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from op_rows import equal
from op_tables import BOX_OPS as OPS
from samples import sample


@lru_cache(maxsize=64)
def wanted(name: str, family: str, n: int, dtype: str) -> Any:
    """The reference's answer, once for all backends."""
    return OPS[name].reference(sample(family, n, dtype))


def check(name: str, backend: str, family: str, n: int, dtype: str) -> None:
    op, data = OPS[name], sample(family, n, dtype)
    try:
        equal(op.call(data, backend), wanted(name, family, n, dtype))
    except AssertionError as error:
        raise AssertionError(f"{name} on {data.name}: {error}") from None
