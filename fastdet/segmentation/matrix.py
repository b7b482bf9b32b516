"""`ConfusionMatrix`: counts together with the number of classes and the convention for void pixels."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet.segmentation import _check

VOID = ("miss", "drop", "count")
_KEPT = (np.add, np.subtract, np.multiply, np.divide)  # ufuncs whose results keep the convention


class ConfusionMatrix(np.ndarray[Any, np.dtype[Any]]):
    """A confusion matrix with its convention: a NumPy array for which figures need no ``num_classes``.

    A matrix of C + 1 rows and columns can be one of C + 1 classes, or one of C classes whose last row and column are
    void: the figures differ. So `confusion_matrix` and `SegmentationMetrics.matrix` return their counts as this type.

    The convention is kept by ``+``, ``-``, ``*`` and ``/``, ``+=``, ``sum(matrices)``, ``copy``, ``astype``,
    ``np.zeros_like`` and ``pickle``. Everything else (a slice, a sum over an axis, a comparison, ``np.asarray``,
    ``np.array``, ``np.sum`` of a list, ``np.save``) gives a plain array. Figures take every row and column of a square
    plain array for a class: pass ``num_classes`` with it, or make a ConfusionMatrix of it again.

    Parameters
    ----------
    counts : (R, K) numbers of 0 or more, rows are the truth. Not copied where it is a NumPy array
    num_classes : int in [1, 65535], C
    void : the convention for void pixels, which decides the shape. None (no pixel is void) or "drop": (C, C).
        "miss": (C, C + 1), the last column counts predictions of void. "count": (C + 1, C + 1), the last row and
        column are void

    Attributes
    ----------
    num_classes : int, or None once it is lost, such as after ``reshape``
    void : as the parameter

    Raises
    ------
    TypeError   num_classes is not an integer
    ValueError  a shape other than the convention's; adding matrices of different conventions

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.segmentation import ConfusionMatrix, mean_iou
    >>> counts = np.array([[3, 0, 1], [1, 2, 0], [0, 5, 100]])
    >>> round(mean_iou(ConfusionMatrix(counts, 2, "count")), 3)  # as mean_iou(counts, num_classes=2)
    0.425
    >>> round(mean_iou(counts), 3)  # of three classes
    0.598
    """

    __module__ = "fastdet.segmentation"
    _convention: tuple[int, str | None] | None

    def __new__(cls, counts: Any, num_classes: int, void: str | None = None) -> ConfusionMatrix:
        op = "ConfusionMatrix"
        classes = _check.class_count(op, num_classes)
        how = None if void is None else check.choice(op, "void", void, VOID)
        array = np.asarray(counts)
        want = _shape(classes, how)
        if array.shape != want:
            raise ValueError(f"{op}: counts must have shape {want} for void {void!r}, got {array.shape}")
        return _with((classes, how), array)

    @property
    def num_classes(self) -> int | None:
        """How many of the first rows and columns are classes."""
        known = self._known()
        return None if known is None else known[0]

    @property
    def void(self) -> str | None:
        """What void pixels count for."""
        known = self._known()
        return None if known is None else known[1]

    def _known(self) -> tuple[int, str | None] | None:
        """The convention; None after the shape has changed."""
        convention = self._convention
        return convention if convention is not None and self.shape == _shape(*convention) else None

    def __array_finalize__(self, obj: Any) -> None:
        self._convention = getattr(obj, "_convention", None)

    def __getitem__(self, key: Any) -> Any:
        return self.view(np.ndarray)[key]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        convention = None
        if method == "__call__" and ufunc in _KEPT:
            convention = _in_common([x for x in (*inputs, *out) if isinstance(x, ConfusionMatrix)])
        if out:
            options["out"] = tuple(_plain(x) for x in out)
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        if out:
            if convention is not None and isinstance(out[0], ConfusionMatrix):
                out[0]._convention = convention
            elif convention is not None and convention[1] == "count":
                text = (
                    "ConfusionMatrix: counts with a void row were added to a plain array, which loses the convention; "
                    f"pass num_classes={convention[0]} to the figures, or start from a ConfusionMatrix"
                )
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            return out[0] if len(out) == 1 else out
        if convention is not None and isinstance(result, np.ndarray) and result.shape == _shape(*convention):
            return _with(convention, result)
        return result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.copy:
            kwargs = {**kwargs, "subok": True}
        return super().__array_function__(func, types, args, kwargs)

    def __reduce__(self) -> Any:
        function, arguments, state = tuple(super().__reduce__())
        return function, arguments, (state, self._convention)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self._convention = state[1]


def _with(convention: tuple[int, str | None], counts: Any) -> ConfusionMatrix:
    """A `ConfusionMatrix` of counts whose shape is already the convention's."""
    matrix: ConfusionMatrix = counts.view(ConfusionMatrix)
    matrix._convention = convention
    return matrix


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, ConfusionMatrix) else x


def _shape(classes: int, void: str | None) -> tuple[int, int]:
    return classes + (void == "count"), classes + (void in ("miss", "count"))


def _in_common(matrices: list[ConfusionMatrix]) -> tuple[int, str | None] | None:
    """The convention that all matrices share; None if one of them has none. ValueError if they differ."""
    known = [matrix._known() for matrix in matrices]
    first = known[0]
    if first is None or None in known:
        return None
    for other in known[1:]:
        assert other is not None
        if other[0] != first[0] or _shape(*other) != _shape(*first):
            raise ValueError(
                f"ConfusionMatrix: matrices must have the same convention, got num_classes={first[0]}, "
                f"void={first[1]!r} and num_classes={other[0]}, void={other[1]!r}"
            )
        first = first[0], first[1] or other[1]
    return first


def with_convention(matrix: Any, num_classes: int, void: str | None) -> Any:
    """A `ConfusionMatrix` of a NumPy array; another library's array gets ``num_classes`` and ``void`` as attributes."""
    if type(matrix) is np.ndarray:
        return _with((num_classes, void), matrix)
    with contextlib.suppress(AttributeError, TypeError):  # some libraries' arrays accept no attributes
        matrix.num_classes, matrix.void = num_classes, void
    return matrix


def known_classes(op: str, matrix: Any, num_classes: Any) -> Any:
    """``num_classes``, else the matrix's own; None where the shape decides.

    Raises
    ------
    ValueError  a square matrix of a library other than NumPy without ``num_classes``
    """
    if num_classes is not None:
        return num_classes
    known = getattr(matrix, "num_classes", None)
    if isinstance(known, int):
        return known
    if isinstance(matrix, np.ndarray) or not hasattr(matrix, "__dlpack__"):
        return None
    shape = tuple(matrix.shape)
    if len(shape) == 2 and shape[0] == shape[1] > 1:
        raise ValueError(
            f"{op}: num_classes must be passed for a square {type(matrix).__name__} without a num_classes of its own: "
            f'{shape[0]}, or {shape[0] - 1} where it was counted with void="count"; got None'
        )
    return None
