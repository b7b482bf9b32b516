"""One framework in two processes, as it is and with fastdet inside: both answer, then they are timed in turn.

`Side` is one of the two, seen from the process that times: it sends orders through a pipe to `serve`, which runs in
the process of its own. Only one of them works at a time.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import multiprocessing
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

BENCH = Path(__file__).resolve().parents[1]

Check = Callable[[Any, Any], str]


class CannotAnswer(RuntimeError):
    """The text says what the process said."""


def cases_of(framework: str) -> Any:
    """The module ``bench/integrations_<framework>.py``."""
    name = f"integrations_{framework}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


# ------------------------------------------------------------------------------------- in the child only
def serve(framework: str, inside: bool, threads: int, pipe: Connection) -> None:
    """Carry out the orders that come through the pipe, until "end"."""
    cases: list[tuple[str, Callable[[], Any], Check | None]] = []

    def begin() -> dict[str, Any]:
        module, mode = cases_of(framework), "its own functions"
        if inside:
            import fastdet
            from fastdet import integrations

            fastdet.set_num_threads(threads)
            made = getattr(module, "activate", getattr(integrations, framework, None))()
            mode = str(made) if made is not None else "fastdet inside"
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        failed = ""
        try:
            cases.extend(module.cases())
        except Exception as error:
            if inside:
                raise
            failed = f"{type(error).__name__}: {error}"
        return {"names": [name for name, _, _ in cases], "mode": mode, "failed": failed}

    def compare(k: int, before: Any) -> str:
        name, call, check = cases[k]
        after = plain(call())
        if check is not None:
            return check(before, after)
        if (why := difference(before, after)) is not None:
            raise AssertionError(f"{name}: not equal: {why}")
        return "equal"

    orders: dict[str, Callable[..., Any]] = {
        "begin": begin,
        "answer": lambda k: plain(cases[k][1]()),
        "compare": compare,
        "time": lambda k, inner: seconds(cases[k][1], inner),
    }
    while True:
        try:
            order = pickle.loads(pipe.recv_bytes())
        except EOFError:  # the process that asks has ended
            return
        if order[0] == "end":
            return
        try:
            reply = ("done", orders[order[0]](*order[1:]))
        except Exception as error:
            text = "" if order[0] == "answer" else traceback.format_exc()
            reply = ("failed", text or f"{type(error).__name__}: {error}")
        pipe.send_bytes(pickle.dumps(reply))


def seconds(call: Callable[[], Any], inner: int) -> float:
    """Seconds a call, over ``inner`` calls; one more comes first where that is cheap: it fills the caches."""
    if inner > 1:
        call()
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for _ in range(inner):
            call()
        return (time.perf_counter() - begin) / inner
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------- the answers
def plain(answer: Any) -> Any:
    """An answer that can travel: tensors without their graph, in lists, tuples and dicts."""
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [plain(value) for value in answer]
    if hasattr(answer, "detach"):
        return answer.detach().cpu().contiguous().clone()
    return answer


def difference(before: Any, after: Any, where: str = "answer") -> str | None:
    """Where and how two answers differ, to the last bit; None where they do not. NaN equals NaN."""
    if type(before) is not type(after):
        return f"{where} is a {type(after).__name__}, was a {type(before).__name__}"
    if isinstance(before, dict):
        if before.keys() != after.keys():
            return f"{where} has the keys {list(after)}, had {list(before)}"
        parts = [(before[key], after[key], f"{where}[{key!r}]") for key in before]
    elif isinstance(before, list):
        if len(before) != len(after):
            return f"{where} has {len(after)} parts, had {len(before)}"
        parts = [(x, y, f"{where}[{k}]") for k, (x, y) in enumerate(zip(before, after, strict=True))]
    elif hasattr(before, "shape"):
        return _array_difference(before, after, where)
    else:
        same = before == after or (before != before and after != after)
        return None if same else f"{where} is {after!r}, was {before!r}"
    return next((why for part in parts if (why := difference(*part)) is not None), None)


def _array_difference(before: Any, after: Any, where: str) -> str | None:
    kinds = [(x.dtype, tuple(x.shape)) for x in (before, after)]
    if kinds[0] != kinds[1]:
        return f"{where} is {kinds[1]}, was {kinds[0]}"
    if hasattr(before, "detach"):  # a tensor; NumPy has no bfloat16
        torch = importlib.import_module("torch")
        missing = [
            torch.isnan(x).numpy() if x.is_floating_point() else np.zeros(x.shape, bool) for x in (before, after)
        ]
        bits = [x.view(torch.uint8).numpy() if x.dim() else x[None].view(torch.uint8).numpy() for x in (before, after)]
    else:
        missing = [np.isnan(x) if x.dtype.kind in "fc" else np.zeros(x.shape, bool) for x in (before, after)]
        bits = [np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (before, after)]
    size = max(1, missing[0].size)
    unlike = (bits[0].reshape(size, -1) != bits[1].reshape(size, -1)).any(1) if missing[0].size else np.zeros(0, bool)
    wrong = int((unlike & ~(missing[0] & missing[1]).reshape(-1)).sum())
    return f"{where} differs in {wrong} of {missing[0].size} numbers" if wrong else None


# ------------------------------------------------------------------------------------------ in the parent
class Side:
    """A framework in a process of its own."""

    def __init__(self, framework: str, inside: bool, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share what is imported here
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(framework, inside, threads, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.names: list[str] = []
        self.mode = self.failed = ""

    def begin(self) -> None:
        """Put fastdet inside if so asked, and make the cases. ``failed``: why there are not all of them."""
        begun = self.ask("begin")
        self.names, self.mode, self.failed = begun["names"], begun["mode"], begun["failed"]

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send_bytes(pickle.dumps(("end",)))
        self.process.join()

    def ask(self, *order: Any) -> Any:
        try:
            self.pipe.send_bytes(pickle.dumps(order))
            state, reply = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join()
            raise CannotAnswer(f"the process ended with code {self.process.exitcode}") from None
        if state == "failed":
            raise CannotAnswer(reply)
        return reply
