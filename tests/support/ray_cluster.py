"""Ray on this machine, for tests."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from optional import need


@contextlib.contextmanager
def local_ray() -> Iterator[Any]:
    """A cluster of two workers. Skips the test where Ray is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray is warned of is its own
        ray = need("ray")
        ray.init(address="local", num_cpus=2, object_store_memory=100 << 20, include_dashboard=False,
                 log_to_driver=False, logging_level="ERROR")  # fmt: skip
    try:
        yield ray
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.shutdown()
