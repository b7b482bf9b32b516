"""`Peer`: a library that fastdet is compared with; and what the peers of several areas share.

`PEERS[op][name]` of an area builds the call: `make(case)` imports the library and returns a function of no arguments.
It converts inputs to the library's own form (tensors, float64, xywh), outside the timing. A library that cannot be
imported is reported as absent, with the reason; see `ready`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from box_cases import Call, Case


@dataclass(frozen=True)
class Peer:
    """One peer. norm: converts its answer to fastdet's form, untimed. max_n: larger cases would take minutes."""

    make: Callable[[Case], Call]
    norm: Callable[[Any], Any] = np.asarray
    max_n: int = 10_000_000
    loop: bool = False  # a few plain lines of code, not a library
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """A peer that does not run, with the reason."""

    reason: str


def ready(peer: Peer, case: Any) -> tuple[Call, Any] | Absent:
    """The peer's call on `case` and its answer in fastdet's form, or the reason why it does not run.

    The call has been made once, so it is compiled and its threads have started.
    """
    if isinstance(case, Case) and case.n > peer.max_n:
        return Absent(f"not run: above {peer.max_n} boxes it takes too long or too much memory")
    try:
        call = peer.make(case)
        answer = peer.norm(call())
    except Exception as error:  # any error of an optional library is shown
        first_line = (str(error).strip().splitlines() or [""])[0]
        return Absent(f"{type(error).__name__}: {first_line[:160]}")
    return call, answer


def threads() -> int:
    """The number of threads that this process may use; compare.py sets the variable."""
    return int(os.environ.get("FASTDET_NUM_THREADS") or len(os.sched_getaffinity(0)))


def tensors(case: Case) -> tuple[Any, Any, Any, Any]:
    """torch, boxes, scores, labels."""
    torch = import_module("torch")
    torch.set_num_threads(threads())
    return torch, torch.from_numpy(case.boxes), torch.from_numpy(case.scores), torch.from_numpy(case.labels)


def functional() -> Any:
    return import_module("torch.nn.functional")


def in_order(result: Any) -> Any:
    """Tensors as C-contiguous NumPy arrays."""
    if isinstance(result, tuple):
        return tuple(map(in_order, result))
    return np.asarray(result.detach().numpy())


def onnx_op(node: Any, x: Any, constants: Mapping[str, Any] | None = None) -> Callable[[dict[str, Any]], Any]:
    """A node of ONNX from "x", of the dtype of ``x``, to "y", in ONNX Runtime with as many threads as the others."""
    onnx, onnxruntime, constants = import_module("onnx"), import_module("onnxruntime"), dict(constants or {})
    kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    infos = [onnx.helper.make_tensor_value_info(name, kind, None) for name in "xy"]
    for name, tensor in constants.items():
        tensor.name = name
    graph = onnx.helper.make_graph([node], "op", infos[:1], infos[1:], list(constants.values()))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(["y"], inputs)[0]


def opencv() -> Any:
    """cv2, with as many threads as the others."""
    cv2 = import_module("cv2")
    cv2.setNumThreads(threads())
    return cv2
