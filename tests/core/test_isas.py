"""Every op on the instruction sets that the quick run leaves out: one case each, so that a broken build is seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from op_rows import Op, comparable, equal
from op_tables import ARRAY_OPS, BOX_OPS
from samples import sample

_cpp = pytest.importorskip("fastdet._cpp")
OTHERS = [isa for isa in _cpp.isa_available() if isa != _cpp.isa()]


@pytest.fixture(params=OTHERS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _cpp.isa()
    _cpp.set_isa(request.param)
    yield request.param
    _cpp.set_isa(before)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", [*BOX_OPS, *ARRAY_OPS])
def test_one_case(name: str) -> None:
    op = {**BOX_OPS, **ARRAY_OPS}[name]
    if isinstance(op, Op):
        given = sample("clustered", 70)
        equal(op.call(given, "cpp"), op.reference(given))
        return
    case, dtype = next(iter(op.cases)), op.dtypes[0]
    equal(comparable(op.call(case, dtype, "cpp")), comparable(op.call(case, dtype, "reference")))
