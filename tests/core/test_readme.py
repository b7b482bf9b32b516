"""The examples of the README run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from optional import need

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_examples() -> None:
    need("torch")
    assert len(EXAMPLES) >= 4
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, "README.md", "exec"), names)
    assert names["keep"].tolist() == [0, 2, 1]
    assert names["gradient"].shape == names["full"].shape
    assert bool(names["x"].grad.any())
