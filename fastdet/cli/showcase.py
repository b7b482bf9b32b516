"""Compute and draw the results of ``fastdet demo`` and ``fastdet bench``.

All backends must give equal answers before they are timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdet import boxes as box_ops
from fastdet import detection, nms, plots
from fastdet._core import backends
from fastdet._core.check import Array
from fastdet.cli import sample as _sample
from fastdet.cli import scenes
from fastdet.cli.sample import Sample
from fastdet.cli.scenes import Scene
from fastdet.inference import Candidates, Found, yolo_candidates

MIN_SCORE = 0.05  # boxes with a lower score are dropped, before and after Soft-NMS
MIN_DRAWN_SCORE = 0.3  # only boxes with at least this score are drawn, or can hit an object
MIN_IOU = 0.6  # a box of an object's class hits the object if their IoU is at least this


class Different(Exception):
    """Two backends disagree."""


@dataclass
class Step:
    """The boxes of all scenes after one method."""

    title: str
    boxes_in: int  # boxes before
    kept: Candidates
    missed: list[Array]  # for each scene, (M,): its objects without a kept box of score >= `MIN_DRAWN_SCORE`
    precision: Array  # (3,) COCO's AP, AP50 and AP75 over all scenes
    milliseconds: dict[str, float]  # by backend, for all scenes at once


@dataclass
class Demo:
    sample: Sample
    steps: list[Step]  # decoding, NMS, Soft-NMS linear, Soft-NMS gaussian
    backends: list[str]

    @property
    def objects(self) -> int:
        return sum(len(scene.labels) for scene in self.sample.scenes)


def demo() -> Demo:
    """Decode the network's output for all scenes and apply NMS and Soft-NMS, on every backend that is present."""
    sample = _sample.load()

    def decode(backend: str) -> Any:
        return yolo_candidates(sample.output, MIN_SCORE, backend=backend)

    raw, times = _measure("decoding", decode, seconds=0.2)
    boxes, scores, labels, images = raw
    groups = images * len(scenes.NAMES) + labels

    def hard(backend: str) -> Any:
        return nms.batched_nms(boxes, scores, groups, 0.5, backend=backend)

    def soft(method: str) -> Callable[[str], Any]:
        options: Any = {"method": method, "min_score": MIN_SCORE}
        return lambda backend: nms.batched_soft_nms(boxes, scores, groups, **options, backend=backend)

    steps = [_step(sample, "decoding", sample.output[:, 0].size, raw, times)]
    for title, run in (("NMS", hard), ("Soft-NMS linear", soft("linear")), ("Soft-NMS gaussian", soft("gaussian"))):
        result, times = _measure(title, run, seconds=0.2)
        keep, rescored = result if isinstance(result, tuple) else (result, scores[result])
        kept = Candidates(boxes[keep], rescored, labels[keep], images[keep])
        steps.append(_step(sample, title, len(boxes), kept, times))
    return Demo(sample, steps, _usable())


def _step(sample: Sample, title: str, boxes_in: int, kept: Candidates, times: dict[str, float]) -> Step:
    detections = [of_scene(kept, i) for i in range(len(sample.scenes))]
    missed = [_missed(scene, of_scene(kept, i, MIN_DRAWN_SCORE)) for i, scene in enumerate(sample.scenes)]

    def run(backend: str) -> Array:
        metrics = detection.DetectionMetrics(backend=backend)
        metrics.update([one._asdict() for one in detections], [scene._asdict() for scene in sample.scenes])
        results = metrics.compute()
        return np.array([results[key] for key in ("map", "map_50", "map_75")])

    return Step(title, boxes_in, kept, missed, _agreed(f"average precision after {title}", run), times)


def of_scene(kept: Candidates, i: int, min_score: float = 0) -> Found:
    """The boxes of one scene with a score of at least ``min_score``."""
    mine = (kept.images == i) & (kept.scores >= min_score)
    return Found(kept.boxes[mine], kept.scores[mine], kept.labels[mine])


def _missed(scene: Scene, detections: Found) -> Array:
    """Indices of the objects that no box of their class hits. A box hits one object, by falling IoU."""
    overlap = box_ops.box_iou(scene.boxes, detections.boxes)
    overlap[scene.labels[:, None] != detections.labels] = 0
    hit = np.zeros(len(overlap), bool)
    while overlap.size and overlap.max() >= MIN_IOU:
        i, j = np.unravel_index(np.argmax(overlap), overlap.shape)
        hit[i] = True
        overlap[i], overlap[:, j] = 0, 0
    return np.flatnonzero(~hit)


def picture(result: Demo) -> Any:
    """The figure of the demo: the scene with the most objects, before NMS, after NMS and after Soft-NMS."""
    sample, (raw, hard, soft, _) = result.sample, result.steps
    i = max(range(len(sample.scenes)), key=lambda i: len(sample.scenes[i].labels))
    scene, (height, width) = sample.scenes[i], scenes.SIZE
    image = scenes.draw(scene, sample.seeds[i], scale=6)

    def panel(step: Step, name: str) -> tuple[str, Array, Array, Array]:
        boxes, scores, labels = of_scene(step.kept, i, MIN_DRAWN_SCORE)
        lost = len(step.missed[i])
        words = f"{lost} of {len(scene.labels)} objects lost (dashed)" if lost else "every object found"
        return f"{name}: {len(boxes)} boxes, {words}", boxes, labels, scores

    figure, _ = plots.compare(
        [panel(raw, "Before"), panel(hard, "NMS"), panel(soft, "Soft-NMS")],
        names=scenes.NAMES,
        size=scenes.SIZE,
        backdrop=lambda ax: ax.imshow(image, extent=(0, width, height, 0)),
        missed=[scene.boxes[step.missed[i]] for step in (raw, hard, soft)],
        note="A made-up street, and what a small YOLO that never saw it says; boxes of a score of "
        f"{MIN_DRAWN_SCORE} or more, opacity is the score. NMS at IoU 0.5, linear Soft-NMS at 0.3, both per class.\n"
        f"Average precision over {len(sample.scenes)} such scenes: {raw.precision[0]:.3f} before, "
        f"{hard.precision[0]:.3f} after NMS, {soft.precision[0]:.3f} after Soft-NMS.",
    )
    return figure


def bench() -> list[dict[str, Any]]:
    """Time all cases. Each row: op, input, median milliseconds by backend. Takes under ten seconds."""
    rows = []
    for op, words, run, with_reference in _cases():
        names = [name for name in _usable() if name != "reference" or with_reference]
        _, times = _measure(f"{op} {words}", run, names, seconds=0.25)
        rows.append({"op": op, "input": words, "milliseconds": times})
    return rows


def _cases() -> list[tuple[str, str, Callable[[str], Any], bool]]:
    """(op, input, ``f(backend)``, whether the reference is quick enough)."""
    cases: list[tuple[str, str, Callable[[str], Any], bool]] = []
    for n in (100, 1_000, 10_000, 100_000):
        b, s, _ = _sample.clustered(n)
        cases.append(("nms", f"{n:,}", _job(nms.nms, b, s, 0.5), n <= 1_000))
    for n in (1_000, 100_000):
        b, s, k = _sample.clustered(n)
        cases.append(("batched_nms", f"{n:,}, 80 classes", _job(nms.batched_nms, b, s, k, 0.5), n <= 1_000))
    for n, method in ((1_000, "linear"), (10_000, "linear"), (1_000, "gaussian")):
        b, s, _ = _sample.clustered(n)
        cases.append(("soft_nms", f"{n:,}, {method}", _job(nms.soft_nms, b, s, method=method), n <= 1_000))
    b, _, _ = _sample.clustered(1_000)
    cases.append(("box_iou", "1,000 x 1,000", _job(box_ops.box_iou, b, b), True))
    return cases


def _job(op: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[str], Any]:
    return lambda backend: op(*arguments, **options, backend=backend)


def _usable() -> list[str]:
    return [name for name, reason in backends.available().items() if not reason]


def _measure(
    what: str, run: Callable[[str], Any], backends: list[str] | None = None, *, seconds: float
) -> tuple[Any, dict[str, float]]:
    """The common answer of all backends, and the median milliseconds of each. The first call is not timed."""
    backends = _usable() if backends is None else backends
    answer = _agreed(what, run, backends)
    times = {}
    for name in backends:
        samples: list[float] = []
        spent = 0.0
        while not samples or (spent < seconds and len(samples) < 200):
            began = time.perf_counter()
            run(name)
            samples.append(time.perf_counter() - began)
            spent += samples[-1]
        times[name] = round(statistics.median(samples) * 1e3, 6)
    return answer, times


def _agreed(what: str, run: Callable[[str], Any], backends: list[str] | None = None) -> Any:
    """The common answer of all backends. Raises Different if one disagrees."""
    backends = _usable() if backends is None else backends
    answer: Any = None
    for name in backends:
        result = run(name)
        if answer is not None and not _equal(answer, result):
            raise Different(f"{what}: {backends[0]} and {name} disagree; please report it with `fastdet info --json`")
        answer = result if answer is None else answer
    return answer


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
