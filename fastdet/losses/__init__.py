"""Losses for training, with gradients: of a softmax over classes, of one logit (sigmoid focal, hinge), of boxes.

What follows holds for the losses of a softmax (cross-entropy of labels, of probabilities and of the hardest pixels,
focal, Dice, Tversky, Lovász). Logits are (N, C, d1, ...): one score for
each class and pixel; also (N, C) or (C,). The target has that shape without C and holds class numbers of any integer
type. The classes may be last in memory (torch's channels_last): such logits are not copied, and their gradient has the
same layout.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, on the CPU or an NVIDIA
GPU, and returns the same type. float64 is computed in float64; float32, float16 and bfloat16 in float32, and the loss
and the gradient are rounded to the logits' dtype once. exp and log are made of IEEE operations (to 2 ulp), so that all
backends, also on a GPU, give the same bits. The losses of the pixels are summed in float64, in an order that depends on
the shape alone.

Rules for unusual input:

- A label outside [0, C) that is not ``ignore_index`` raises ValueError.
- A pixel that is ignored, or of a class of weight 0, does not count, whatever its logits are: its loss and its
  gradient are 0 (with label smoothing: ignored pixels only).
- Where no pixel counts, or their weights sum to 0, a mean is 0 with gradient 0 and a RuntimeWarning (torch: NaN).
- A logit of -inf has probability 0; if it is the target's, the loss is inf. NaN, +inf, or -inf for all classes make the
  pixel's loss and gradient NaN. Finite logits may be of any size: a probability below 1e-37 (float32; 1e-307 in
  float64) counts as 0, and its logarithm is finite.
- On a GPU value errors are asynchronous: a label out of range makes the loss and the whole gradient NaN, and the next
  call raises. Weights that are negative or not finite make both NaN. There is no warning. With FASTDET_SYNC=1 in the
  environment labels raise at once, and there are warnings.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.losses.boxes import (
    ciou_loss,
    ciou_loss_with_grad,
    diou_loss,
    diou_loss_with_grad,
    giou_loss,
    giou_loss_with_grad,
)
from fastdet.losses.class_weights import median_frequency_weights
from fastdet.losses.dice import dice_loss, dice_loss_with_grad
from fastdet.losses.lovasz import (
    lovasz_hinge_loss,
    lovasz_hinge_loss_with_grad,
    lovasz_softmax_loss,
    lovasz_softmax_loss_with_grad,
)
from fastdet.losses.ohem import ohem_cross_entropy, ohem_cross_entropy_with_grad
from fastdet.losses.sigmoid_focal import sigmoid_focal_loss, sigmoid_focal_loss_with_grad
from fastdet.losses.softmax import cross_entropy, cross_entropy_with_grad, focal_loss, focal_loss_with_grad
from fastdet.losses.tversky import tversky_loss, tversky_loss_with_grad

__all__ = [
    "ciou_loss",
    "ciou_loss_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "dice_loss",
    "dice_loss_with_grad",
    "diou_loss",
    "diou_loss_with_grad",
    "focal_loss",
    "focal_loss_with_grad",
    "giou_loss",
    "giou_loss_with_grad",
    "lovasz_hinge_loss",
    "lovasz_hinge_loss_with_grad",
    "lovasz_softmax_loss",
    "lovasz_softmax_loss_with_grad",
    "median_frequency_weights",
    "ohem_cross_entropy",
    "ohem_cross_entropy_with_grad",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_with_grad",
    "tversky_loss",
    "tversky_loss_with_grad",
]

register_with_torch(__name__)
