"""``fastdet demo``: decoding, NMS and Soft-NMS on the sample that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid

from fastdet._files.atomic import atomic
from fastdet.cli import showcase
from fastdet.cli.terminal import Failure, absent, console, say
from fastdet.plots.axes import png


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the picture goes, a PNG.")] = Path(
        "fastdet_demo.png"
    ),
) -> None:
    """Decode a small YOLO's output for made-up streets, apply NMS and Soft-NMS, and score: tables and a picture."""
    if output.suffix.lower() != ".png" or not output.parent.is_dir():
        raise Failure(f"demo: output must end in .png, in an existing folder, got {output}")
    shown = console()
    result = showcase.demo()
    sample, min_score = result.sample, showcase.MIN_DRAWN_SCORE
    shown.print(
        f"The output of a small YOLO for {len(sample.scenes)} made-up streets that it was not trained on.\n"
        f"They have {result.objects} objects; none is a photograph.\n"
        f"Found: hit by a box with a score of at least {min_score}. Times in ms."
    )
    grid = Grid()
    for title in ("method", "boxes in", "out", "found", *result.backends):
        grid.add_column(title, justify="left" if title == "method" else "right", no_wrap=True)
    for step in result.steps:
        times = [f"{step.milliseconds[name]:.3f}" for name in result.backends]
        hits = f"{result.objects - sum(map(len, step.missed))} of {result.objects}"
        grid.add_row(step.title, str(step.boxes_in), str(len(step.kept.boxes)), hits, *times)
    shown.print(grid)
    shown.print("Average precision (COCO's) over all of them:")
    grid = Grid()
    for title in ("boxes", "AP", "AP50", "AP75"):
        grid.add_column(title, justify="left" if title == "boxes" else "right", no_wrap=True)
    for step in result.steps:
        grid.add_row(f"after {step.title}", *(f"{x:.3f}" for x in step.precision))
    shown.print(grid)
    absent(shown)
    if len(result.backends) > 1:
        shown.print(f"equal answers on {', '.join(result.backends)}: checked")
    try:
        figure = showcase.picture(result)
    except ImportError as error:
        raise Failure(str(error)) from None
    with atomic(output) as file:
        file.write(png(figure))
    say(f"picture: {output.resolve()}")
