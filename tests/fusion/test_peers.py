"""Fusion against ensemble-boxes, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need
from samples import sample

from fastdet import nms

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@each_backend
@pytest.mark.parametrize("conf_type", ["avg", "max", "box_and_model_avg", "absent_model_aware_avg"])
@pytest.mark.parametrize("allows_overflow", [False, True])
def test_ensemble_boxes(backend: str, conf_type: str, allows_overflow: bool) -> None:
    """The same fused boxes within 1e-5 (it sums in float32)."""
    peer = need("ensemble_boxes")
    rng = np.random.default_rng(3)
    models = [sample("clustered", 120, "float64", seed=0)] * 3
    rows = [np.clip(m.boxes / 2000 + rng.normal(0, 2e-4, (120, 4)) + 0.2, 0, 1) for m in models]
    scores = [m.scores[rng.permutation(120)] * (1 + i / 1000) for i, m in enumerate(models)]
    labels = [np.arange(120) % 3] * 3
    options: dict[str, Any] = {"weights": [1, 2, 3], "iou_thr": 0.55, "skip_box_thr": 0.05, "conf_type": conf_type}
    want = peer.weighted_boxes_fusion(rows, scores, labels, **options, allows_overflow=allows_overflow)
    got = nms.weighted_boxes_fusion(rows, scores, labels, **options, allows_overflow=allows_overflow, backend=backend)
    assert len(got[1]) == len(want[1])
    np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-5)
    mine, theirs = (np.lexsort((np.round(x[0][:, 0], 4), np.round(x[1], 4), x[2])) for x in (got, want))
    np.testing.assert_array_equal(got[2][mine], want[2][theirs])
    np.testing.assert_allclose(got[0][mine], want[0][theirs], rtol=0, atol=1e-5)
