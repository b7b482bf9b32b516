"""The figures that are read from what `DetectionMetrics` has counted, besides those of `compute`."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.metric import Metric, known_mean
from fastdet.detection import at_score, calibration, results, state
from fastdet.detection.curves import PRCurve, mean_curves
from fastdet.detection.inputs import NAME
from fastdet.detection.records import Floats
from fastdet.detection.results import ABSENT
from fastdet.detection.state import Chunk, Counted, Parameters

MAX_BINS = 10_000  # of `calibration`


class Figures(Metric):
    """The base of `DetectionMetrics`: what is read from its records."""

    _parameters: Parameters
    _state: Counted
    _accumulated: tuple[Chunk, tuple[Floats, Floats, Floats]] | None  # the curves of a chunk

    @abc.abstractmethod
    def _joined(self) -> Chunk:
        """All records as one chunk."""

    @abc.abstractmethod
    def _given(self, values: dict[str, Any]) -> dict[str, Any]:
        """Results as the caller gets them: tensors if `update` got tensors."""

    def _one_type(self, what: str) -> Chunk:
        """All records as one chunk. ValueError where they are of several kinds of overlap."""
        kinds = self._parameters.iou_types
        if len(kinds) > 1:
            raise ValueError(f"DetectionMetrics.{what}: choose one of iou_type {kinds}: of_type({kinds[0]!r}).{what}")
        return self._joined()

    def curves(self) -> tuple[Floats, Floats, Floats]:
        """Precision (T, R, K, A, M), recall (T, K, A, M) and scores (T, R, K, A, M) as in COCO's evaluation.

        Axes: IoU threshold, recall level, class (as in ``classes`` of `compute`), area, limit of detections. Precision
        and scores are those at the recall level: 0 if it is not reached, -1 if a class has no true box. Read-only.
        """
        return self._curves(self._one_type("curves"))

    def confusion_matrix(self) -> Any:
        """(K + 1, K + 1) int64: true classes in rows, predicted ones in columns, in the order of ``classes``.

        Detections with at least the score of ``confusion_at`` are matched by COCO's rule at its IoU, without regard to
        class. The last row counts detections without a match, the last column true boxes without a match. Crowds and
        difficult boxes are left out, and so are detections that match one.

        Raises
        ------
        ValueError  this object was made without confusion_at
        """
        if self._parameters.confusion_at is None:
            raise ValueError(f"{NAME}.confusion_matrix: {NAME} must be made with confusion_at=(iou, score), got None")
        chunk = self._joined()
        size = len(chunk.classes) + 1
        pairs = chunk.pairs.astype(np.int64)
        matrix = np.bincount(pairs[:, 1] * size + pairs[:, 2], minlength=size * size).reshape(size, size)
        return (self._state.give or (lambda x: x))(matrix.astype(np.int64))

    def average_precision(self) -> Floats:
        """(T, K, A) for each IoU threshold, class (as in ``classes`` of `compute`) and area; -1 without a true box."""
        chunk = self._one_type("average_precision")
        if self._parameters.method == "area":
            return results.areas_below(self._parameters, chunk)[..., 0]
        # Each mean is over a contiguous row of its own, so that its rounding does not depend on the other rows.
        rows = np.ascontiguousarray(np.moveaxis(self._curves(chunk)[0][..., -1], 1, -1))
        return rows.mean(axis=-1)

    def precision_recall_curves(self, label: int | None = None) -> list[PRCurve]:
        """Precision over recall at each IoU threshold, with the first area and the largest of max_detections.

        Parameters
        ----------
        label : a class; None: the mean over all classes with a true box, at recall 0, 0.01, ..., 1

        Returns
        -------
        curves : T curves as from `precision_recall_curve`. A mean over classes has no scores. Empty without a true
            box

        Raises
        ------
        ValueError  no image has such a class
        """
        chunk = self._one_type("precision_recall_curves")
        records, of_class = state.to_records(chunk)
        if label is None:
            every = (results.class_curves(self._parameters, records, of_class, k) for k in range(len(chunk.classes)))
            return mean_curves(filter(None, every), np.linspace(0, 1, 101))
        at = np.flatnonzero(chunk.classes == label)
        if not len(at):
            got = check.describe(label)
            raise ValueError(f"{NAME}.precision_recall_curves: label must be a class of some image, got {got}")
        return results.class_curves(self._parameters, records, of_class, int(at[0]))

    def at_score(self, score: float, *, iou: float | None = None) -> dict[str, Any]:
        """Precision, recall and F1 if only detections with at least this score are kept.

        Parameters
        ----------
        score : the least score of a detection that is kept. A float32 score equals the number that it was rounded from
        iou : one of ``iou_thresholds``; None: 0.5

        Returns
        -------
        results : ``true_positives``, ``false_positives`` and ``false_negatives`` (int), ``precision``, ``recall`` and
            ``f1`` (float) of all classes together; each also as ``<key>_per_class`` (K,). ``macro_f1``: the mean of F1
            over classes with a true box. ``score``, ``score_per_class`` (K,): the score as it was passed; ``iou``;
            ``classes`` (K,) int64. Precision is -1 where no detection counts, recall and F1 are -1 where there is no
            true box. NumPy, or tensors if `update` got tensors

        Raises
        ------
        TypeError   type of an argument
        ValueError  iou is not one of iou_thresholds; a score above 1 where all scores are fractions

        Notes
        -----
        Detections are matched as for ``map``: each in its class, with the first area and the largest of
        max_detections. Ignored detections (those that match a crowd or a difficult box) and ignored true boxes count
        nowhere. A detection of a class without a true box is a false positive.

        Examples
        --------
        >>> boxes = np.array([[0.0, 0, 10, 10], [50, 0, 60, 10]])
        >>> prediction = {"boxes": boxes, "scores": np.array([0.9, 0.3]), "labels": np.array([0, 0])}
        >>> target = {"boxes": np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), "labels": np.array([0, 0])}
        >>> results = DetectionMetrics().update([prediction], [target]).at_score(0.5)
        >>> results["precision"], results["recall"], round(results["f1"], 3)
        (1.0, 0.5, 0.667)
        """
        op = f"{NAME}.at_score"
        score, t = check.number(op, "score", score), at_score.threshold(op, self._parameters, iou)
        chunk = self._one_type("at_score")
        if score > 1 and len(chunk.scores) and chunk.scores.max() <= 1:
            raise ValueError(f"{op}: score must be in [0, 1], as the scores are, got {score:g}")
        self._warn_if_empty(op)
        return self._given(at_score.at(self._parameters, chunk, t, score))

    def best_f1(self, *, iou: float | None = None) -> dict[str, Any]:
        """The score that gives the best F1, and the figures at it.

        Parameters
        ----------
        iou : one of ``iou_thresholds``; None: 0.5

        Returns
        -------
        results : the keys of `at_score`. ``score`` is the one score, for all classes together, whose ``f1`` is the
            best; ``score_per_class`` (K,) has each class's own, whose figures the keys ``<key>_per_class`` have. Of
            scores with equal F1 the greatest is taken. Where no score gives an F1 above 0, the score is -1 and no
            detection is kept

        Raises
        ------
        TypeError   type of an argument
        ValueError  iou is not one of iou_thresholds

        Notes
        -----
        A score is that of a detection, so that `at_score` of it gives the same figures. It is chosen on the images
        that it is computed on: on others, its F1 is lower as a rule.
        """
        op = f"{NAME}.best_f1"
        t = at_score.threshold(op, self._parameters, iou)
        self._warn_if_empty(op)
        return self._given(at_score.best(self._parameters, self._one_type("best_f1"), t))

    def calibration(self, bins: int = 10, *, iou: float | None = None) -> dict[str, Any]:
        """Whether scores are shares of true positives: of detections with score 0.7, 70 % should be right.

        Parameters
        ----------
        bins : number of bins of equal width of the scores in [0, 1], at most 10,000
        iou : one of ``iou_thresholds``; None: 0.5

        Returns
        -------
        results : ``ece``, the expected calibration error: the mean distance of a bin's share of true positives from its
            mean score, weighted by detections; ``mce``, the greatest one. ``edges`` (bins + 1,); for each bin ``count``
            (int64), ``confidence``, the mean score, and ``precision``, the share of true positives, -1 where it is
            empty. ``ece_per_class`` (K,), -1 for a class without detections, ``mean_ece``, their mean, ``classes`` (K,)
            and ``iou``. NumPy, or tensors if `update` got tensors

        Raises
        ------
        TypeError   type of an argument
        ValueError  bins below 1 or above 10,000; iou is not one of iou_thresholds; scores outside [0, 1]

        Notes
        -----
        Detections are matched as for ``map``, with the first area and the largest of max_detections. Ignored ones count
        nowhere. A bin holds its lower edge, the last one both.

        Source: Guo et al., On Calibration of Modern Neural Networks (2017); Kueppers et al., Multivariate Confidence
        Calibration for Object Detection (2020).

        Examples
        --------
        >>> boxes = np.array([[0.0, 0, 10, 10], [50, 0, 60, 10]])
        >>> prediction = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "labels": np.array([0, 0])}
        >>> results = DetectionMetrics().update([prediction], [{"boxes": boxes[:1], "labels": [0]}]).calibration(2)
        >>> round(results["ece"], 3), results["confidence"].round(3), results["precision"]
        (0.35, array([-1.  ,  0.85]), array([-1. ,  0.5]))
        """
        op = f"{NAME}.calibration"
        count, t = check.at_least_one(op, "bins", bins), at_score.threshold(op, self._parameters, iou)
        if count > MAX_BINS:
            raise ValueError(f"{op}: bins must be at most {MAX_BINS}, got {check.describe(bins)}")
        chunk = self._one_type("calibration")
        if len(chunk.scores) and not (chunk.scores.min() >= 0 and chunk.scores.max() <= 1):
            wrong = chunk.scores[(chunk.scores < 0) | (chunk.scores > 1)][0]
            raise ValueError(f"{op}: scores must be in [0, 1], got {wrong:g}")
        self._warn_if_empty(op)
        return self._given(calibration.calibration(self._parameters, chunk, t, count))

    def plot(self, label: int | None = None, *, ax: Any = None) -> tuple[Any, Any]:
        """Precision over recall, raw and interpolated, a colour for each IoU threshold. Returns (fig, ax).

        ``label``: a class; None: the mean over all classes.
        """
        from fastdet.plots.detection import draw_precision_recall

        curves = self.precision_recall_curves(label)
        precision, chunk = self.average_precision()[..., 0], self._joined()
        if label is not None:
            precision = precision[:, chunk.classes == label]
        words = [
            f"IoU {threshold:.2f}   AP {known_mean(ap, ABSENT):.3f}"
            for threshold, ap in zip(self._parameters.iou_thresholds, precision, strict=True)
        ]
        return draw_precision_recall(curves, names=words[: len(curves)], ax=ax)

    def _curves(self, chunk: Chunk) -> tuple[Floats, Floats, Floats]:
        known = self._accumulated
        if known is not None and known[0] is chunk:
            return known[1]
        result = results.curves(self._parameters, chunk, self.backend)
        if chunk is self._state.whole:  # cached: compute, curves, average_precision and plots use it
            for x in result:
                x.flags.writeable = False
            self._accumulated = chunk, result
        return result

    def _measures(self, chunk: Chunk) -> tuple[Floats, Floats]:
        """`results.measures`, from the cached curves."""
        return results.measures(self._parameters, chunk, self.backend, self._curves(chunk))
