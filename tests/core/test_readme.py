"""The examples of the README run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from optional import need

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_examples() -> None:
    """But those whose title names a framework: tests/integrations/test_recipes.py runs them in their own processes."""
    need("torch")
    assert len(EXAMPLES) >= 2
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, "README.md", "exec"), names)
    assert names["keep"].tolist() == [0, 2]
    assert names["new_scores"].shape == (3,)
    assert bool(names["x"].grad.any())


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(TEXT.splitlines()) <= 150
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) >= 20
    assert [link for link in links if not (README.parent / link).exists()] == []
