"""Resampling of real photographs. The data lies beside the repository."""

from __future__ import annotations

import numpy as np
from optional import need, pictures

from fastdet import upsample


def test_photographs_resampled(variant: str) -> None:
    """uint8 photographs, channels last as files have them, to twice the size: torch's float32 result, rounded."""
    torch = need("torch")
    image = pictures("camvid_240x180", "val", "images")[:8]
    got = upsample.upsample_bilinear(image, (360, 480), channels_last=True, backend=variant)
    x = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    exact = torch.nn.functional.interpolate(x, (360, 480), mode="bilinear").permute(0, 2, 3, 1).numpy()
    assert got.dtype == np.uint8
    assert np.abs(got - exact).max() <= 0.5 + 1e-4
