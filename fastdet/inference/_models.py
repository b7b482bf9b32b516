"""Models of any kind as functions of a batch, their outputs as arrays of the image's kind, and progress reports."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy, to_torch
from fastdet._core.check import Array

Progress = bool | Callable[[int, int], object] | None


def function_of(op: str, model: Any, name: str = "model") -> Callable[[Any], Any]:
    """A torch module or exported program, an ONNX Runtime session or a function, as a function without a graph.

    A module gets tensors on its own device, a session NumPy arrays, a function the image's own kind of array.
    """
    torch = sys.modules.get("torch")
    export: Any = sys.modules.get("torch.export")
    if export is not None and isinstance(model, export.ExportedProgram):
        model = model.module()
    if torch is not None and isinstance(model, torch.nn.Module):
        if model.training and "eval" not in vars(model):  # an exported module has no modes: its own eval() raises
            warnings.warn(f"{op}: {name} is in train mode: call eval() first", UserWarning, stacklevel=3)
        return lambda batch: _call_module(op, model, name, batch)
    if hasattr(model, "run") and hasattr(model, "get_inputs"):
        inputs = model.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"{op}: {name} must have one input, got {len(inputs)}; wrap it in a function")
        key = inputs[0].name
        return lambda batch: model.run(None, {key: to_numpy(op, "image", batch)})
    if not callable(model):
        raise TypeError(f"{op}: {name} must be a torch module, a session or a function, got {type(model).__name__}")
    return lambda batch: _call_function(model, batch)


def _call_module(op: str, model: Any, name: str, batch: Any) -> Any:
    torch = sys.modules["torch"]
    weights = next(model.parameters(), None)
    tensor = batch if isinstance(batch, torch.Tensor) else to_tensor(batch)
    with torch.no_grad():
        if weights is None:
            return model(tensor)
        try:
            return model(tensor.to(weights.device))
        except RuntimeError as error:  # dtypes are compared only after a failure: a module may convert its input
            if tensor.dtype == weights.dtype or "type" not in str(error):
                raise
            expected = f"{weights.dtype} as {name} is"
            raise TypeError(f"{op}: image must be {expected}, got {tensor.dtype} ({error})") from error


def to_tensor(x: Array) -> Any:
    """A tensor of an array's values; it shares the array's memory where torch can read that."""
    return to_torch(np.require(x, x.dtype.newbyteorder("="), ["C", "W"]))


def _call_function(model: Callable[[Any], Any], batch: Any) -> Any:
    torch = sys.modules.get("torch")
    with contextlib.nullcontext() if torch is None else torch.no_grad():
        return model(batch)


def single_array(op: str, output: Any, name: str = "model") -> Any:
    """The single array of a model's output; sessions give lists."""
    if isinstance(output, (list, tuple)):
        if len(output) != 1:
            raise ValueError(f"{op}: {name} must give one array, got {len(output)}")
        output = output[0]
    if not hasattr(output, "shape"):
        raise TypeError(f"{op}: {name} must give an array, got {type(output).__name__}")
    return output


def to_kind_of(op: str, x: Any, image: Any, name: str = "model's output") -> Any:
    """A model's output as ``image`` is: a tensor on its device, else (None too) a NumPy array."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(image, torch.Tensor):
        tensor = x.detach() if isinstance(x, torch.Tensor) else to_tensor(to_numpy(op, name, x))
        return tensor.to(image.device)
    if torch is not None and isinstance(x, torch.Tensor):
        x = x.detach().cpu()
    return to_numpy(op, name, x)


@contextlib.contextmanager
def reporting(op: str, progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more windows are done.

    It calls the caller's function, or moves a bar on stderr, or does nothing.
    """
    done = [0]
    if not isinstance(progress, bool) and progress is not None and not callable(progress):
        raise TypeError(f"{op}: progress must be True or a function, got {check.describe(progress)}")
    if callable(progress):

        def call(n: int) -> None:
            done[0] += n
            progress(done[0], total)

        yield call
    elif progress:
        try:
            from rich.console import Console
            from rich.progress import Progress as Bar
        except ImportError:
            raise ImportError(f"{op}: progress=True needs rich: pip install rich, or pass a function") from None
        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(op, total=total)
            yield lambda n: bar.update(task, advance=n)
    else:
        yield lambda n: None
