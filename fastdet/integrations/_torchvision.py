"""torchvision: NMS and the RoI operators are fastdet's; where its binary does not fit torch, all operators are."""

from __future__ import annotations

import importlib.util
import sys

from fastdet.integrations._replace import Changes, Integration, IntegrationError, check_version, installed, integrate

TRIED = "0.27", "0.29"


def torchvision(*, cuda: bool = False) -> Integration:
    """Run torchvision with fastdet's NMS and RoI operators, also where its binary does not fit the installed torch.

    Call it before torchvision is imported ("operator torchvision::nms does not exist"), or at any time where
    torchvision works. An import of it that has failed in this process is made good.

    Parameters
    ----------
    cuda : where torchvision's binary works, replace its CUDA kernels, too. Without a binary all that fastdet has is
        there

    Returns
    -------
    Integration. Its ``mode`` is "operators defined", where the binary brings none, or "kernels replaced"

    Raises
    ------
    IntegrationError    torch or torchvision is not installed, or torchvision cannot be changed any more: nothing was

    Notes
    -----
    Answers are torchvision's. Those of `nms`, `roi_pool`, `ps_roi_pool` and the gradient of `roi_pool` are equal bit
    for bit in float32 and float64; the sums of `roi_align`, `ps_roi_align` and the other gradients have another order,
    so their last bits differ. float16 is computed in float32 and rounded once, where torchvision rounds each step. A
    feature that is infinite or NaN and has the weight 0 in a sample of `roi_align` or `ps_roi_align` is left out, where
    torchvision makes it NaN. A RoI of an image that is not there, or with a NaN or infinite coordinate, raises
    ValueError, where torchvision reads wild memory.

    Examples
    --------
    >>> from fastdet import integrations
    >>> integrations.torchvision()          # doctest: +SKIP
    >>> from torchvision.ops import nms     # doctest: +SKIP
    """
    return integrate("torchvision", lambda changes: _make(changes, cuda), {"cuda": cuda})


def _make(changes: Changes, cuda: bool) -> tuple[str | None, str]:
    _, version = installed("torchvision")
    if importlib.util.find_spec("torch") is None:
        raise IntegrationError("torchvision: torch is not installed: pip install torch")
    loaded = sys.modules.get("torchvision")
    if loaded is not None and getattr(loaded.__spec__, "_initializing", False):
        raise IntegrationError(
            "torchvision: its import is under way: call fastdet.integrations.torchvision() before it"
        )

    from fastdet.integrations import _torchvision_define as definitions
    from fastdet.integrations._torchvision_ops import KERNELS

    check_version("torchvision", version, *TRIED)
    why = None if definitions.exists() else "torchvision was imported without them"
    if why is not None and loaded is None:
        why = definitions.load_binary()
    if why is None:
        keys = ("CPU", "CUDA") if cuda else ("CPU",)
        library = definitions.override(KERNELS, keys)
        changes.on_undo(library._destroy)
        changes.replaced += [f"torchvision::{name}" for name in KERNELS]
        return version, f"kernels replaced ({', '.join(keys)})"
    if loaded is not None:
        raise IntegrationError(
            "torchvision: it was imported without its operators, and its modules have noted that: call "
            "fastdet.integrations.torchvision() before the first import of torchvision"
        )
    if not definitions.registers_gradients():
        raise IntegrationError(
            f"torchvision: release {version} has its gradients in its binary, which does not load ({why}): "
            f"install torchvision {TRIED[0]} or later, or the torch that it was built for"
        )
    library = definitions.define(definitions.KERNELS)
    changes.on_undo(library._destroy)
    definitions.import_with_operators(changes)
    changes.replaced += [f"torchvision::{name}" for name in definitions.KERNELS]
    return version, f"operators defined ({why})"
