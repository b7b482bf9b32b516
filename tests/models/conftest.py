"""Fixtures of fastdet.models: torch, and the package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from optional import need


@pytest.fixture
def torch() -> Iterator[Any]:
    module = need("torch")
    import torch._dynamo

    module.manual_seed(0)
    threads = module.get_num_threads()
    module.set_num_threads(1)  # small work, and the machine may be busy
    yield module
    module.set_num_threads(threads)
    torch._dynamo.reset()


@pytest.fixture
def models(torch: Any) -> Any:
    return need("fastdet.models")
