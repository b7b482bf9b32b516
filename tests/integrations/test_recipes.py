"""The recipes of the page "Use it inside ..." and of the README run as they stand, each in a process of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from frameworks import need_installed, run_script

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "pages" / "integrations.md"
RECIPE = re.compile(r'^```python title="with ([^"]*)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def recipes() -> list[tuple[str, str, str]]:
    """(heading, packages, code) of each."""
    found, heading = [], ""
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (PAGE, ROOT / "README.md"))
    for part in re.split(r"^(?=#+ )", pages, flags=re.MULTILINE):
        heading = part.partition("\n")[0].lstrip("# ")
        found += [(heading, packages, code) for packages, code in RECIPE.findall(part)]
    return found


RECIPES = recipes()
NAMES = [f"{heading} {sum(x[0] == heading for x in RECIPES[:k])}" for k, (heading, _, _) in enumerate(RECIPES)]


@pytest.mark.parametrize(("packages", "code"), [recipe[1:] for recipe in RECIPES], ids=NAMES)
def test_recipe(packages: str, code: str) -> None:
    need_installed(*packages.split(", "))
    done = run_script(code, seconds=600)
    assert done.returncode == 0, done.stderr[-4000:]


def test_every_python_fence_is_a_recipe() -> None:
    """One without a title would run where the site is built, and change that process."""
    text = PAGE.read_text(encoding="utf-8")
    assert len(RECIPE.findall(text)) == text.count("```python") >= 3
    assert any(heading == "Four recipes" for heading, _, _ in RECIPES)


def test_a_wrong_recipe_fails() -> None:
    with pytest.raises(AssertionError, match=r"No module named 'fastdet\.no_such_module'"):
        test_recipe("numpy", "import fastdet.no_such_module\n")
    with pytest.raises(pytest.skip.Exception, match="missing package: no-such-package"):
        test_recipe("numpy, no-such-package", "1 / 0\n")
