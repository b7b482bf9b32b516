"""What ``fastdet demo`` and ``fastdet bench`` compute and draw; `cli` prints it.

The backends' answers are compared first, then timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdet import _backends, _sample, detection, nms, plots
from fastdet import boxes as box_ops
from fastdet._check import Array

CUT = 0.3  # the least score that counts as a detection in the demo
FOUND = 0.6  # IoU with an object from which on a box of its class has found it


class Different(Exception):
    """Two backends disagree."""


@dataclass
class Step:
    """One method's outcome."""

    title: str
    boxes: Array
    labels: Array
    scores: Array
    missed: Array  # (M, 4) objects that no kept box has found
    precision: Array  # (3,) COCO's AP, AP50 and AP75 of what is kept
    milliseconds: dict[str, float]  # by backend


@dataclass
class Demo:
    sample: dict[str, Array]
    before: Array  # (3,) COCO's AP, AP50 and AP75 of all candidates
    steps: list[Step]
    backends: list[str]

    @property
    def candidates(self) -> int:
        return len(self.sample["boxes"])

    @property
    def objects(self) -> Array:
        return self.sample["objects"]


def demo() -> Demo:
    """The embedded sample through NMS and Soft-NMS on every backend there is."""
    sample = _sample.load()
    b, s, k = sample["boxes"], sample["scores"], sample["labels"]

    def hard(backend: str) -> Any:
        return nms.batched_nms(b, s, k, 0.5, score_threshold=CUT, backend=backend)

    def soft(method: str) -> Callable[[str], Any]:
        return lambda backend: nms.batched_soft_nms(b, s, k, method=method, min_score=CUT, backend=backend)

    steps = []
    for title, run in (("NMS", hard), ("Soft-NMS linear", soft("linear")), ("Soft-NMS gaussian", soft("gaussian"))):
        result, times = _measure(title, run, _usable(), seconds=0.2)
        keep, scores = result if isinstance(result, tuple) else (result, s[result])
        missed = sample["objects"][_missed(sample, b[keep], k[keep])]
        precision = _precision(sample, title, b[keep], k[keep], scores)
        steps.append(Step(title, b[keep], k[keep], scores, missed, precision, times))
    return Demo(sample, _precision(sample, "candidates", b, k, s), steps, _usable())


def picture(result: Demo) -> Any:
    """The figure of the demo: before, after NMS, after Soft-NMS."""
    sample, (hard, soft, _) = result.sample, result.steps
    objects, labels, size = sample["objects"], sample["object_labels"], (int(sample["size"][0]), int(sample["size"][1]))

    def title(step: Step, name: str) -> str:
        lost = len(step.missed)
        words = f"{lost} of {len(objects)} objects lost (dashed)" if lost else "every object found"
        return f"{name}: {len(step.boxes)} kept, {words}"

    figure, _ = plots.compare(
        [
            (f"Before: {result.candidates} candidates", sample["boxes"], sample["labels"], sample["scores"]),
            (title(hard, "NMS"), hard.boxes, hard.labels, hard.scores),
            (title(soft, "Soft-NMS"), soft.boxes, soft.labels, soft.scores),
        ],
        names=sample["names"].tolist(),
        size=size,
        backdrop=lambda ax: plots.draw_street(objects, labels, size, ax=ax),
        missed=[None, hard.missed, soft.missed],
        note="Synthetic scene and boxes, arranged so that the methods differ: no photograph, no detector. "
        f"NMS at IoU 0.5, linear Soft-NMS at 0.3, both per class, scores from {CUT}. Opacity is the score.\n"
        f"Average precision: {result.before[0]:.3f} before, {hard.precision[0]:.3f} after NMS, "
        f"{soft.precision[0]:.3f} after Soft-NMS.",
    )
    return figure


def _precision(sample: dict[str, Array], title: str, boxes: Array, labels: Array, scores: Array) -> Array:
    """AP, AP50 and AP75 against the sample's objects, the same on every backend."""
    found = {"boxes": boxes, "scores": scores, "labels": labels}
    truth = {"boxes": sample["objects"], "labels": sample["object_labels"]}

    def run(backend: str) -> Array:
        metrics = detection.DetectionMetrics(backend=backend)
        metrics.update([found], [truth])
        results = metrics.compute()
        return np.array([results[key] for key in ("map", "map_50", "map_75")])

    precision: Array = _measure(f"average precision of {title}", run, _usable(), seconds=0)[0]
    return precision


def _missed(sample: dict[str, Array], kept: Array, labels: Array) -> Array:
    """Indices of the objects that no kept box of their class has found; a box finds one object, its best."""
    overlap = box_ops.box_iou(sample["objects"], kept)
    overlap[sample["object_labels"][:, None] != labels] = 0
    found = np.zeros(len(overlap), bool)
    while overlap.size and overlap.max() >= FOUND:
        i, j = np.unravel_index(np.argmax(overlap), overlap.shape)
        found[i] = True
        overlap[i], overlap[:, j] = 0, 0
    return np.flatnonzero(~found)


def bench() -> list[dict[str, Any]]:
    """One row a case: op, input, milliseconds by backend (median), runs by backend. Under ten seconds."""
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
    return [name for name, reason in _backends.available().items() if not reason]


def _measure(
    what: str, run: Callable[[str], Any], backends: list[str], *, seconds: float
) -> tuple[Any, dict[str, float]]:
    """The one answer of all backends, and the median milliseconds of each; the first call compiles, uncounted."""
    answer: Any = None
    for name in backends:
        result = run(name)
        if answer is not None and not _equal(answer, result):
            raise Different(f"{what}: {backends[0]} and {name} disagree; please report it with `fastdet info --json`")
        answer = result if answer is None else answer
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


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
