"""`fastdet.losses`'s sigmoid focal loss under its old path."""

from fastdet.losses.sigmoid_focal import sigmoid_focal_loss, sigmoid_focal_loss_with_grad

__all__ = ["sigmoid_focal_loss", "sigmoid_focal_loss_with_grad"]
