"""The pictures of ``fastdet evaluate --plots``, and one HTML page that contains them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastdet import plots
from fastdet._core.check import Array
from fastdet._core.metric import known_mean
from fastdet._files.atomic import atomic
from fastdet._version import __version__
from fastdet.cli.html import Html, fill, join, lines
from fastdet.cli.summary import columns, headline, number, words
from fastdet.cli.terminal import skipped_lines
from fastdet.detection.curves import PRCurve
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.results import ABSENT
from fastdet.plots.axes import new_axes, png, ramp
from fastdet.plots.detection import steps

_MAX_BARS = 100  # classes in the bar chart
Pictures = dict[str, tuple[str, bytes]]  # file name -> caption, PNG


def need() -> None:
    """Raise ImportError if matplotlib is not installed."""
    new_axes()


def save(metrics: DetectionMetrics, results: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures and ``report.html`` into a folder, which is made if it is missing. OSError."""
    pictures = draw(metrics, results)
    page = report(metrics, results, pictures).encode()
    folder.mkdir(exist_ok=True)
    paths = []
    for name, content in [*((name, picture) for name, (_, picture) in pictures.items()), ("report.html", page)]:
        paths.append(folder / name)
        with atomic(paths[-1]) as file:
            file.write(content)
    return paths


def draw(metrics: DetectionMetrics, results: dict[str, Any]) -> Pictures:
    """Draw every picture, as PNG with a caption."""
    settings, rows = results["settings"], [row for row in results["per_class"] if row["true_boxes"]]
    at = settings["iou"]
    every = metrics.average_precision()[..., 0]
    curves = metrics.precision_recall_curves()
    words = [f"IoU {t:.2f}   AP {known_mean(ap, ABSENT):.3f}" for t, ap in zip(at, every, strict=True)][: len(curves)]
    figures = {
        "precision_recall.png": (
            "Precision over recall, the mean of all classes at each IoU threshold, with the average precision below "
            "each line. Strong: interpolated. Fine: raw.",
            plots.draw_precision_recall(curves, names=words, title="mean of all classes")[0],
        )
    }
    if len(settings["areas"]) > 1:
        names = list(settings["areas"])
        figures["ap_by_size.png"] = (
            "Scores by size of the true boxes.",
            plots.draw_area_scores(_by_size(metrics, at), names=names, counts=_counts(metrics))[0],
        )
    best = sorted(rows, key=lambda row: -row["ap"])
    shown = best if len(best) <= _MAX_BARS else [*best[: _MAX_BARS // 2], *best[-(_MAX_BARS // 2) :]]
    some = "" if len(shown) == len(best) else f": the {_MAX_BARS // 2} best and the lowest of {len(best):,}"
    figures["ap_by_class.png"] = (
        f"Average precision of each class{some}. The dashed line is the mean of all classes.",
        plots.draw_class_scores(
            np.array([row["ap"] for row in shown]), names=[row["name"] for row in shown], title="AP",
            mean=results["map"] if rows else None,
        )[0],
    )  # fmt: skip
    confusion = results["confusion"]
    names = confusion["classes"][:-1]
    figures["confusion.png"] = (
        f"Where detections of a score from {confusion['score']:g} went, matched whatever their class at IoU "
        f"{confusion['iou']:g}. Right column: true boxes that nothing met. Lowest row: detections that met nothing.",
        plots.draw_confusion(
            np.array(confusion["matrix"]), names=names, num_classes=len(names), beyond="background"
        )[0],
    )  # fmt: skip
    return {name: (caption, png(figure)) for name, (caption, figure) in figures.items()}


def _by_size(metrics: DetectionMetrics, at: Sequence[float]) -> dict[str, Array]:
    """Scores by name: each is the mean over classes, (A,) by size of the boxes."""
    precision, recall = metrics.average_precision(), metrics.curves()[1][..., -1]
    areas = range(precision.shape[2])
    scores = {"AP": np.array([known_mean(precision[..., a], ABSENT) for a in areas])}
    for i, t in enumerate(at):
        if len(at) > 1 and abs(t - 0.5) < 1e-9:
            scores["AP50"] = np.array([known_mean(precision[i, :, a], ABSENT) for a in areas])
    scores["AR"] = np.array([known_mean(recall[..., a], ABSENT) for a in areas])
    return scores


def _counts(metrics: DetectionMetrics) -> list[int]:
    counts: list[int] = metrics.records[0].counted.sum(axis=0).tolist()
    return counts


# --------------------------------------------------------------------------------------------------- page
def report(metrics: DetectionMetrics, results: dict[str, Any], pictures: Pictures) -> str:
    """The HTML page: scores, pictures as data URIs, a table of the classes, and their curves as SVG."""
    cards = join(_card(line) for line in results["summary"] if line["area"] == "all")
    method, ci = results["settings"]["method"], results.get("ci")
    figures = []
    for name, (caption, picture) in pictures.items():
        template = _WIDE if name == "confusion.png" else _FIGURE
        figures.append(fill(template, data=base64.b64encode(picture).decode(), name=name, caption=caption))
    notes = join(fill("<li>{note}</li>", note=note) for note in [*results["notes"], *skipped_lines(results["skipped"])])
    return fill(
        _PAGE,
        title=Path(results["detections"]).name,
        truth=results["truth"],
        detections=results["detections"],
        headline=headline(results),
        cards=cards,
        lines=lines(words(line, method, ci) for line in results["summary"]),
        notes=fill("<h2>Notes</h2><ul>{notes}</ul>", notes=notes) if notes else "",
        figures=join(figures),
        table=_table(results["per_class"]),
        panels=_panels(metrics, results),
        settings=_settings(results["settings"]),
        version=__version__,
    )


_IMAGE = "<img src='data:image/png;base64,{data}' alt='{name}'>"
_FIGURE = f"<figure><div>{_IMAGE}</div><figcaption>{{caption}}</figcaption></figure>"
_WIDE = _FIGURE.replace("<figure><div>", "<figure class=wide><div style=max-height:none>")


def _card(line: dict[str, Any]) -> Html:
    limit = "" if line["kind"] == "AP" else f", maxDets {'all' if line['most'] is None else line['most']}"
    value = "absent" if line["value"] < 0 else f"{line['value']:.3f}"
    interval = Html()
    if line.get("ci") and line["ci"][0] >= 0:
        interval = fill("<small>{ends}</small>", ends=f"{line['ci'][0]:.3f} to {line['ci'][1]:.3f}")
    what = f"{line['kind']}, IoU {line['iou']}{limit}"
    template = "<div class=card><b>{value}</b>{interval}<span>{what}</span></div>"
    return fill(template, value=value, interval=interval, what=what)


def _settings(settings: dict[str, Any]) -> str:
    at = ", ".join(f"{t:g}" for t in settings["iou"])
    limits = ", ".join("all" if m is None else str(m) for m in settings["max_dets"])
    spans = settings["areas"].items()
    sizes = ", ".join(f"{k} {a:g} to {'any' if b is None or b >= 1e10 else f'{b:g}'}" for k, (a, b) in spans)
    last = "counts" if settings["inclusive"] else "does not count"
    return (
        f"Average precision by {settings['method']}, matched by the rule of {settings['rule']}; the last pixel of a "
        f"box {last}. IoU thresholds {at}. Most detections of an image and class {limits}. "
        f"Square pixels of the sizes: {sizes}."
    )


def _table(rows: list[dict[str, Any]]) -> Html:
    titles = columns(rows)
    head = join(fill("<th><button>{title}</button></th>", title=title) for title in ("class", *titles.values()))
    body = []
    for row in rows:
        cells = join(
            fill("<td data-v='{value}'>{shown}</td>", value=f"{row[key]:.6g}", shown=number(row[key])) for key in titles
        )
        body.append(fill("<tr><th>{name}</th>{cells}</tr>", name=row["name"], cells=cells))
    template = "<table id=classes><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return fill(template, head=head, body=join(body))


def _panels(metrics: DetectionMetrics, results: dict[str, Any]) -> Html:
    """A small chart of each class: the interpolated curves, and the raw curve of the first threshold."""
    at = results["settings"]["iou"]
    colours = ramp(len(at))
    keys = join(
        fill("<span style='color:{colour}'>IoU {iou}</span> ", colour=colour, iou=f"{t:g}")
        for t, colour in zip(at, colours, strict=True)
    )
    panels = []
    for row in sorted(results["per_class"], key=lambda row: -row["ap"]):
        curves = metrics.precision_recall_curves(row["id"])
        if curves:
            pairs = zip(curves, colours, strict=True)
            paths = join(_paths(curve, colour, curve is curves[0]) for curve, colour in pairs)
            panels.append(fill(_PANEL, name=row["name"], ap=f"{row['ap']:.3f}", paths=paths))
    return fill("<p class=keys>{keys}</p><div class=panels>{panels}</div>", keys=keys, panels=join(panels))


_PANEL = (
    "<figure><svg viewBox='-4 -4 248 188' role=img aria-label='{name}: precision over recall'>"
    "<path class=grid d='M0 0V180H240M0 0H240V180M0 90H240M120 0V180'/>{paths}</svg>"
    "<figcaption>{name} <b>{ap}</b></figcaption></figure>"
)


def _paths(curve: PRCurve, colour: str, raw: bool) -> Html:
    """A curve as SVG on a grid of whole pixels. Points that repeat a pixel are left out."""
    drawn = [(*steps(curve.recall, curve.interpolated), 1.6, 1.0)]
    if raw:
        drawn.append((curve.recall, curve.precision, 0.7, 0.7))
    paths = []
    template = "<path d='M{points}' stroke='{colour}' stroke-width='{width}' opacity='{opacity}'/>"
    for x, y, width, opacity in drawn:
        points = np.stack([np.round(240 * x), np.round(180 * (1 - y))], axis=1).astype(np.int64)
        points = points[np.append(True, (np.diff(points, axis=0) != 0).any(axis=1))] if len(points) else points
        if len(points):
            text = "L".join(f"{a} {b}" for a, b in points.tolist())
            paths.append(fill(template, points=text, colour=colour, width=width, opacity=opacity))
    return join(paths)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: average precision</title>
<style>
:root {{ color-scheme: light dark; --ink: #1d2733; --soft: #5c6775; --line: #dfe3e8; --page: #f5f6f8; --card: #fff; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8e8e8; --soft: #a3a3a3; --line: #383838; --page: #131313; --card: #1c1c1c; }}
  figure img {{ filter: invert(0.89) hue-rotate(180deg); }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1.2rem; max-width: 78rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
h1 {{ font-size: 1.6rem; margin: 0.3rem 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 0.7rem; }}
p, li {{ color: var(--soft); margin: 0.2rem 0; overflow-wrap: anywhere; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.8rem; margin: 1.2rem 0; }}
.card, figure, .scroll, pre {{ background: var(--card); border: 1px solid var(--line); border-radius: 0.6rem; }}
.card {{ padding: 0.7rem 0.9rem; }}
.card b {{ display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }}
.card span, .card small {{ display: block; color: var(--soft); font-size: 0.82rem; }}
pre, .scroll {{ overflow-x: auto; margin: 0; padding: 0.8rem; }}
pre {{ font: 0.8rem/1.5 ui-monospace, Consolas, "DejaVu Sans Mono", monospace; }}
figure {{ margin: 0; padding: 0.8rem; min-width: 0; }}
figure img {{ display: block; max-width: 100%; margin: 0 auto; }}
figcaption {{ color: var(--soft); font-size: 0.85rem; margin-top: 0.4rem; overflow-wrap: anywhere; }}
.figures {{ columns: 2 26rem; column-gap: 0.8rem; }}
.figures figure {{ break-inside: avoid; margin-bottom: 0.8rem; }}
.figures .wide {{ column-span: all; margin-top: 0.8rem; }}
.figures div {{ max-height: 42rem; overflow: auto; }}
@media (max-width: 40rem) {{ .figures .wide img {{ max-width: none; width: 44rem; }} }}
.panels {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(44%, 11rem), 1fr)); gap: 0.6rem; }}
.panels figure {{ padding: 0.5rem; }}
.panels svg {{ display: block; width: 100%; fill: none; stroke-linejoin: round; }}
.panels .grid {{ stroke: var(--line); }}
.panels b {{ float: right; color: var(--ink); }}
.keys {{ font-size: 0.85rem; font-weight: 600; }}
.keys span {{ margin-right: 0.6rem; white-space: nowrap; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.88rem; font-variant-numeric: tabular-nums; }}
td, th {{ padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }}
th:first-child {{ text-align: left; font-weight: 500; position: sticky; left: 0; background: var(--card); }}
th button {{ all: unset; cursor: pointer; font-weight: 650; }}
th button:focus-visible {{ outline: 2px solid; }}
footer {{ margin-top: 2rem; font-size: 0.85rem; }}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{detections} scored against {truth}</p>
<p>{headline}</p>
</header>
<div class="cards">{cards}</div>
<pre>{lines}</pre>
{notes}
<h2>Pictures</h2>
<div class="figures">{figures}</div>
<h2>Classes</h2>
<div class="scroll">{table}</div>
<h2>Precision over recall of each class</h2>
<p>Across: recall from 0 to 1. Up: precision from 0 to 1. Strong: interpolated. Fine: raw, at the first threshold.</p>
{panels}
<footer><p>{settings}</p><p>fastdet {version}</p></footer>
<script>
document.querySelectorAll("#classes thead button").forEach((button, column) => {{
  let sign = column ? -1 : 1;
  button.addEventListener("click", () => {{
    const body = document.querySelector("#classes tbody");
    const value = (row) => column ? +row.cells[column].dataset.v : row.cells[0].textContent;
    const order = (a, b) => column ? value(a) - value(b) : value(a).localeCompare(value(b));
    body.append(...[...body.rows].sort((a, b) => sign * order(a, b)));
    sign = -sign;
  }});
}});
</script>
</body>
</html>
"""
