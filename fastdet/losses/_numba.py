"""Numba kernels of the losses, by op."""

from fastdet.losses._numba_boxes import box_loss, sigmoid_focal_loss
from fastdet.losses._numba_softmax import cross_entropy, dice_loss, focal_loss

__all__ = ["box_loss", "cross_entropy", "dice_loss", "focal_loss", "sigmoid_focal_loss"]
