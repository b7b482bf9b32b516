"""`fastdet.losses`'s losses of boxes, under their old path."""

from fastdet.losses.boxes import (
    ciou_loss,
    ciou_loss_with_grad,
    diou_loss,
    diou_loss_with_grad,
    giou_loss,
    giou_loss_with_grad,
)

__all__ = ["ciou_loss", "ciou_loss_with_grad", "diou_loss", "diou_loss_with_grad", "giou_loss", "giou_loss_with_grad"]
