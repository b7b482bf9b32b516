"""The options ``--engine`` and ``--address`` of commands that may run on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from fastdet.cli.terminal import Failure, stage
from fastdet.distributed.cluster import cluster


def check_engine(command: str, name: str, address: str | None) -> None:
    """Failure for an unknown engine, and for an address without one."""
    if name not in ("local", "ray"):
        raise Failure(f"{command}: --engine must be local or ray, got {name}")
    if name == "local" and address is not None:
        raise Failure(f"{command}: --address goes with --engine ray")


@contextlib.contextmanager
def engine(command: str, name: str, address: str | None) -> Iterator[Any]:
    """Yield Ray, connected, where it is the engine; else None. Failure where there is no cluster."""
    if name == "local":
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            with stage("connecting to the cluster"):
                ray = stack.enter_context(cluster(command, address))
        except (ImportError, ValueError, OSError) as error:
            raise Failure(str(error)) from None
        yield ray
