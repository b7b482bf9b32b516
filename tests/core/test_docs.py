"""The site's examples and the gallery's scripts run, with warnings as errors."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "pages").rglob("*.md"))

# For each script of the gallery: whether the names that it leaves are as its text says.
CLAIMS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "bilinear_upsampling": lambda x: x["same"],
    "box_fusion": lambda x: x["quality"]["fusion"] > x["quality"]["NMS"],
    "confusion_and_miou": lambda x: x["matrix"].shape == (3, 4) and x["matrix"][1, 0] > x["matrix"][0, 1],
    "keypoints": lambda x: x["similarity"][1] < x["similarity"][11] < 1 and x["results"]["map"] < 0.2,
    "masks": lambda x: (x["edge_overlaps"] < x["overlaps"] - 0.1).all() and x["dense"].any((1, 2)).all(),
    "nms_and_soft_nms": lambda x: x["precision"]["Soft-NMS"] > x["precision"]["NMS"] > x["precision"]["candidates"],
    "overlap_tile": lambda x: np.array_equal(x["tiled"], x["whole"]) and x["seams"].max() > 0.5,
    "panoptic": lambda x: len(x["components"].areas) == 3 and x["figures"]["true_positives"].tolist() == [1, 1, 1],
    "precision_and_recall": lambda x: 0.2 < x["ap"] < 0.8 and x["outcome"][:, 1].sum() < x["outcome"][:, 0].sum(),
    "two_stage": lambda x: (
        (x["quality"]["R-CNN"] > 0.5).sum() >= 2
        and x["quality"]["Faster R-CNN"].min() > 0.5
        and x["mask_quality"].min() > 0.5
    ),
    "unet": lambda x: np.abs(x["logits"] - x["whole"]).max() < 1e-5 and (x["predicted"] == x["truth"]).mean() > 0.95,
    "unpooling": lambda x: x["image"][x["unpooled"] > 0].all() and x["image"][x["repeated"] > 0].mean() < 0.5,
    "yolo_decoding": lambda x: x["count"] <= x["cells"] < len(x["scene"].labels),
}


@pytest.fixture(scope="module")
def hooks() -> Any:
    """docs/hooks.py, which builds the site; it runs examples without MkDocs."""
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def pycocotools() -> Iterator[None]:
    """Restores pycocotools' modules, which a page replaces."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "pycocotools"}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycocotools"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page(page: Path, hooks: Any) -> None:
    text = page.read_text(encoding="utf-8")
    if "import torch" in text:
        need("torch")
    printing = [code for language, code in hooks.FENCE.findall(text) if "print(" in code or language == "console"]
    shown = hooks.examples(text, page.name)
    assert shown.count(".output }") + shown.count("$ fastdet") >= len(printing)
    assert len(shown) > len(text) or not printing


@pytest.mark.parametrize("path", sorted((DOCS / "gallery").glob("*.py")), ids=lambda path: path.stem)
def test_script(path: Path, hooks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if "import torch" in path.read_text(encoding="utf-8"):
        need("torch")
    names: list[dict[str, Any]] = []
    run = hooks.run
    monkeypatch.setattr(hooks, "run", lambda code, name, scope: (names.append(scope), run(code, name, scope))[1])
    text, pictures = hooks.script(path)
    assert text.startswith("# ")
    assert all(data.startswith(b"\x89PNG") for data in pictures.values())
    assert text.count("](" + path.stem) == len(pictures) >= 1
    assert CLAIMS[path.stem](names[-1])


def test_an_error_ends_the_build(hooks: Any) -> None:
    for wrong in ("raise ValueError", "import warnings\nwarnings.warn('old', DeprecationWarning)"):
        with pytest.raises((ValueError, DeprecationWarning)):
            hooks.examples(f"```python\n{wrong}\n```", "page.md")
    with pytest.raises(RuntimeError, match="no-such-file"):
        hooks.examples("```console\n$ fastdet nms no-such-file.json -o x.json\n```", "page.md")


def test_docstrings_as_markdown() -> None:
    need("griffe")
    spec = importlib.util.spec_from_file_location("docs_docstrings", DOCS / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = """One line.

Parameters
----------
a, b : (N,) float, which
    goes on
mode : one of two
    "x"   the first
    "yy"  the second

Raises
------
TypeError   dtype
"""
    assert (
        re.sub(r"\n\s*\n", "\n\n", module.markdown(text))
        == """One line.

**Parameters**

`a`, `b`
:   (N,) float, which
    goes on

`mode`
:   one of two

    `"x"`
    :   the first

    `"yy"`
    :   the second

**Raises**

`TypeError`
:   dtype"""
    )
