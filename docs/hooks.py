"""Hooks of MkDocs: they run the examples of the pages and the scripts of the gallery when the site is built.

The ```python fences of a page run in order in one namespace, and their output is put below them. Of a ```console fence
the lines "$ fastdet ..." run. A script of the gallery becomes a page: its docstring, then its cells, which begin with
"# %%" and comments in Markdown; a cell's output and figures follow its code. An error or a warning ends the build.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from fastdet.cli.app import main

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TERMINAL = {"COLUMNS": "86", "NO_COLOR": "1"}  # environment of the commands


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the gallery's pages, and the page that comes from CHANGELOG.md."""
    from mkdocs.structure.files import File

    cards = []
    for path in sorted((DOCS / "gallery").glob("*.py")):
        text, pictures = script(path)
        title, _, about = text.removeprefix("# ").partition("\n\n")
        about = " ".join(about.partition("\n\n")[0].split())
        files.append(File.generated(config, f"gallery/{path.stem}.md", content=f"---\nhide: [toc]\n---\n{text}"))
        for name, data in pictures.items():
            files.append(File.generated(config, f"gallery/{name}", content=data))
        page, picture = f"{path.stem}.md", list(pictures)[-1]
        cards.append(f"- [![]({picture})]({page})\n\n    **[{title}]({page})**\n\n    {about}")
    index = (DOCS / "gallery" / "index.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "gallery/index.md", content=index.replace("CARDS", "\n\n".join(cards))))
    files.append(File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    return markdown if page.file.src_uri.startswith("gallery/") else examples(markdown, page.file.src_uri)


def examples(markdown: str, name: str) -> str:
    """The page with the output of its examples below them."""
    names: dict[str, Any] = {"__name__": "example"}

    def with_output(fence: re.Match[str]) -> str:
        language, code = fence.groups()
        if language == "python":
            return f"{fence[0]}{output(run(code, name, names))}"
        return f"```console\n{''.join(f'{line}{chr(10)}{command(line)}' for line in code.splitlines())}```"

    with scratch():
        return FENCE.sub(with_output, markdown)


def script(path: Path) -> tuple[str, dict[str, bytes]]:
    """A script of the gallery as a page, and its pictures by name."""
    from matplotlib.figure import Figure

    docstring, *cells = re.split(r"^# %%\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    title, _, about = docstring.strip().strip('"').strip().partition("\n")
    parts, pictures, names = [f"# {title.rstrip('.')}", about.strip()], {}, {"__name__": "example"}
    with scratch():
        for cell in cells:
            comment = re.match(r"(#.*\n)*", cell)
            assert comment is not None
            parts.append(re.sub(r"^# ?", "", comment[0], flags=re.MULTILINE))
            if code := cell[comment.end() :].strip():
                before = {id(value) for value in names.values()}
                printed = run(code, path.name, names)
                parts.append(f"```python\n{code}\n```{output(printed)}")
                for figure in names.values():
                    if isinstance(figure, Figure) and id(figure) not in before:
                        file, picture = io.BytesIO(), f"{path.stem}_{len(pictures)}.png"
                        figure.savefig(file, dpi=110, format="png", facecolor="white")
                        pictures[picture] = file.getvalue()
                        parts.append(f"![{title}]({picture})")
    return "\n\n".join(parts), pictures


def run(code: str, name: str, names: dict[str, Any]) -> str:
    """Run the code and return its output; a warning raises."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(code, name, "exec"), names)
    return printed.getvalue()


def command(line: str) -> str:
    """Run a line ``$ fastdet ...`` and return its output; "" for any other line."""
    if not line.startswith("$ fastdet "):
        return ""
    with (
        mock.patch.dict(os.environ, TERMINAL),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        if main(shlex.split(line)[2:]):
            raise RuntimeError(f"{line}: {errors.getvalue()}")
    return "\n".join(row.rstrip() for row in printed.getvalue().strip("\n").split("\n")) + "\n"


def output(printed: str) -> str:
    return f"\n\n``` {{ .text .output }}\n{printed.rstrip()}\n```" if printed.strip() else ""


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Work in a temporary folder, so that examples can write files."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
