"""sahi's lists of objects: their array, and the merging of those that belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet.integrations._replace import Changes, check_parameters

_EXACT = 2**26  # integers below it have areas that a float holds


def replace(changes: Changes, combine: Any, utils: Any) -> None:
    to_array, merge = utils.object_prediction_list_to_numpy, combine._apply_merge
    check_parameters("sahi", "object_prediction_list_to_numpy", to_array, ("object_prediction_list",))
    wanted = ("object_prediction_list", "keep_to_merge_list", "match_metric", "match_threshold")
    check_parameters("sahi", "_apply_merge", merge, wanted)
    changes.functions(
        [
            (utils, "object_prediction_list_to_numpy", _to_array(to_array, utils)),
            (combine, "_apply_merge", _merge(merge, combine, utils)),
        ]
    )


def _to_array(old: Callable[..., Any], utils: Any) -> Callable[..., Any]:
    def object_prediction_list_to_numpy(object_prediction_list: Any) -> Any:
        if type(object_prediction_list) is not utils.ObjectPredictionList:
            return old(object_prediction_list)
        rows = [
            (*p.bbox.to_xyxy(), p.score.value, p.category.id)
            for p in object_prediction_list.list
            if isinstance(p, utils.ObjectPrediction)
        ]
        if len(rows) != len(object_prediction_list.list):
            return old(object_prediction_list)
        return np.array(rows, np.float32).reshape(-1, 6)

    return object_prediction_list_to_numpy


def _kind(box: list[Any]) -> str | None:
    """What `np.array` makes of a box: "f" float64, "i" small integers, "s" float32; None for anything else."""
    types = {type(x) for x in box}
    if types == {np.float32}:
        kind = "s"
    elif types <= {float, np.float64, int}:
        kind = "i" if types == {int} else "f"
    else:
        return None
    size = sum(map(abs, box))  # a NaN or an infinity stays one
    return kind if size < (_EXACT if kind == "i" else 2.0**60) else None


def _merge(old: Callable[..., Any], combine: Any, utils: Any) -> Callable[..., Any]:
    """`_apply_merge` with one new object for each group instead of one for each step."""
    made = utils.ObjectPrediction

    def _apply_merge(
        object_prediction_list: Any, keep_to_merge_list: Any, match_metric: Any, match_threshold: Any
    ) -> list[Any]:
        plain = type(object_prediction_list) is utils.ObjectPredictionList and match_metric in ("IOU", "IOS")
        if not plain or type(match_threshold) not in (float, int):
            return old(object_prediction_list, keep_to_merge_list, match_metric, match_threshold)
        objects, selected = object_prediction_list.list, []
        for keep, others in keep_to_merge_list.items():
            merged = _of_group(objects, keep, others, match_metric == "IOU", match_threshold)
            if merged is None:
                selected += old(object_prediction_list, {keep: others}, match_metric, match_threshold)
                continue
            if merged is not objects[keep]:
                objects[keep] = merged
            selected.append(merged)
        return selected

    def _of_group(objects: list[Any], keep: int, others: list[int], iou: bool, threshold: float) -> Any:
        """The merged object; None where sahi has to do it."""
        best = objects[keep]
        if not others and type(best) is made:
            return best
        if type(best) is not made or keep in others:
            return None
        box = best.bbox.to_xyxy()
        kind = _kind(box)
        if kind is None:
            return None
        x1, y1, x2, y2 = box
        score, category, changed = best.score.value, best.category, False
        for row in others:
            other = objects[row]
            its = other.bbox.to_xyxy() if type(other) is made else None
            its_kind = None if its is None else _kind(its)
            if its is None or its_kind is None or (kind == "s") != (its_kind == "s"):
                return None
            a1, b1, a2, b2 = its
            area, its_area = (x2 - x1) * (y2 - y1), (a2 - a1) * (b2 - b1)
            width = (a2 if a2 < x2 else x2) - (a1 if a1 > x1 else x1)
            height = (b2 if b2 < y2 else y2) - (b1 if b1 > y1 else y1)
            inter = (width if width > 0 else width * 0) * (height if height > 0 else height * 0)
            whole = area + its_area - inter if iou else (its_area if its_area < area else area)
            if not (inter / whole >= threshold if whole else inter > 0):
                continue
            if best.mask and other.mask and not changed:
                best = utils.merge_object_prediction_pair(best, other)
                kind, box = _kind(best.bbox.to_xyxy()), best.bbox.to_xyxy()
                if kind is None:
                    return None
                x1, y1, x2, y2 = box
                score, category = best.score.value, best.category
                continue
            changed = True
            kind = "f" if kind != its_kind else kind
            x1, y1 = a1 if a1 < x1 else x1, b1 if b1 < y1 else y1
            x2, y2 = a2 if a2 > x2 else x2, b2 if b2 > y2 else y2
            its_score = other.score.value
            category = category if score > its_score else other.category
            score = max([score, its_score])
        if not changed:
            return best
        number = {"f": np.float64, "i": np.int64, "s": np.float32}[kind]
        return made(
            bbox=[number(x) for x in (x1, y1, x2, y2)],
            score=score,
            category_id=category.id,
            category_name=category.name,
            segmentation=None,
            shift_amount=list(best.bbox.shift_amount),
            full_shape=None,
        )

    return _apply_merge
