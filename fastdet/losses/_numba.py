"""Numba kernels of the losses, by op."""

from fastdet.losses._numba_boxes import box_loss, sigmoid_focal_loss
from fastdet.losses._numba_lovasz import lovasz_hinge_loss, lovasz_softmax_loss
from fastdet.losses._numba_soft import ohem_cross_entropy, soft_cross_entropy
from fastdet.losses._numba_softmax import cross_entropy, dice_loss, focal_loss, tversky_loss

__all__ = [
    "box_loss",
    "cross_entropy",
    "dice_loss",
    "focal_loss",
    "lovasz_hinge_loss",
    "lovasz_softmax_loss",
    "ohem_cross_entropy",
    "sigmoid_focal_loss",
    "soft_cross_entropy",
    "tversky_loss",
]
