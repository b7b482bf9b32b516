"""Values of COCO's records that are Python objects, and errors about them with the text of the C++ reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from fastdet._core.check import describe
from fastdet._files.errors import FormatError, plain

ABSENT = object()
# What a record has for each shape that is read of an object, see `fastdet.detection.records.SHAPES`.
FIELD_OF = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
NO_NUMBERS = {str, bytes, bool}  # float() takes these types, but they are no JSON numbers
_WHOLE = 9e15  # integers may be written as whole numbers with a point or an exponent below this


def fail(where: str, section: str, index: int, field: str, expected: str, value: object) -> NoReturn:
    """FormatError for a field of a record, and its value."""
    refuse(where, section, index, field, f"expected {expected}, got {shown(value)}")


def refuse(where: str, section: str, index: int, field: str, text: str) -> NoReturn:
    """FormatError for a field of a record."""
    raise FormatError(f"{where}: {section}[{index}]{field and '.'}{field}: {text}")


def shown(x: object) -> str:
    """A value as the C++ reader prints it."""
    if x is ABSENT:
        return "no such field"
    if isinstance(x, float):
        return plain(x)
    if isinstance(x, Mapping):
        return "an object"
    if isinstance(x, list | tuple):
        return "a list"
    try:
        text = json.dumps(x)
        is_long = isinstance(x, int) and len(text) > 40
        return f"{text[:20]}... ({len(text)} characters)" if is_long else text[:40]
    except (TypeError, ValueError, OverflowError):  # an array or another Python object
        return describe(x)


def numbers(count: int) -> str:
    """A count in words."""
    return f"{count} number{'' if count == 1 else 's'}"


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of 64 bits, perhaps written as a float."""
    try:
        exact = not isinstance(value, str | bytes | bool) and int(value) == value and -(2**63) <= value < 2**63
        return bool(exact and (not isinstance(value, float) or abs(value) < _WHOLE))
    except (TypeError, ValueError, OverflowError):
        return False


def given(value: object) -> bool:
    """Whether a field has a value other than null and an empty list."""
    return value is not None and not (isinstance(value, list | tuple | np.ndarray) and len(value) == 0)
