"""Pieces of work on a Ray cluster, whose results come in the order of the pieces."""

from __future__ import annotations

import contextlib
import importlib
import logging
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from fastdet._core import backends

_SECONDS = 60  # at most, until pieces that are given up have ended
WINDOW = 4  # pieces for each processor that are under way at once


@contextlib.contextmanager
def cluster(op: str, address: str | None) -> Iterator[Any]:
    """Yield Ray, connected. The errors of its tasks are raised as they are.

    ``address``: the cluster's, as in ``ray.init``; None: RAY_ADDRESS, else a cluster that runs on this machine, else a
    new one on this machine, which ends with the context. If the caller has called ``ray.init``, that cluster is used.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ImportError(f'{op}: the cluster needs Ray: pip install "fastdet[ray]"') from None
    starts_ray = not ray.is_initialized()
    if not starts_ray and address is not None:
        raise ValueError(f"{op}: address must be None where Ray is initialized already, got {address!r}")
    if starts_ray:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    try:
        yield ray
    except ray.exceptions.RayTaskError as error:  # raise the task's own error
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    finally:
        if starts_ray:
            ray.shutdown()


def in_order(
    ray: Any, work: Callable[[Any, Any], Any], shared: Any, pieces: Sequence[Any]
) -> Generator[Any, None, None]:
    """Yield ``work(shared, piece)`` of each piece, in order. A few pieces are under way at once, each in a process.
    Close the generator to give up the rest.

    ``work`` has no side effects, or such as may come twice: if a worker dies, Ray runs its piece again.
    """
    remote = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(_run)
    kept = ray.put(shared)
    window = WINDOW * max(1, int(ray.cluster_resources().get("CPU", 1)))
    todo = iter(pieces)
    waiting: deque[Any] = deque()
    try:
        for _ in range(len(pieces)):
            while len(waiting) < window and (piece := next(todo, None)) is not None:
                waiting.append(remote.remote(work, kept, piece))
            yield pickle.loads(ray.get(waiting.popleft()))
    finally:  # where an error has come, nothing goes on
        for task in waiting:
            ray.cancel(task)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=_SECONDS)


def _run(work: Callable[[Any, Any], Any], shared: Any, piece: Any) -> bytes:
    """The result as bytes: arrays that Ray gives back are read-only, and would keep its memory.

    Ray runs a process for each processor, so each uses one thread.
    """
    if backends.native is not None:
        backends.native.set_num_threads(1)
    return pickle.dumps(work(shared, piece))
