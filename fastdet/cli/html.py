"""HTML that cannot hold text of others as HTML: every value that is put into it is escaped, unless it is `Html`."""

from __future__ import annotations

import html
from collections.abc import Iterable

from fastdet._core.plain_text import printable


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(x: object) -> Html:
    """A text or a number as HTML, in one line; `Html` as it is. Quotes are escaped too, for attributes."""
    return x if isinstance(x, Html) else Html(html.escape(printable(str(x)), quote=True))


def lines(texts: Iterable[object]) -> Html:
    """Texts as HTML, a line each."""
    return Html("\n".join(map(text, texts)))


def join(parts: Iterable[Html]) -> Html:
    """Pieces of HTML, one after the other."""
    return Html("".join(map(text, parts)))


def fill(template: str, **values: object) -> Html:
    """A template of this package with the values in the places of their names."""
    return Html(template.format(**{name: text(value) for name, value in values.items()}))
